//! GGUF files of the architectures `bitnet-b1.58` (microsoft/BitNet) and `bitnet` (llama.cpp).

use std::collections::HashSet;

use rayon::prelude::*;
use tritburn_formats::codec::gguf::{i2_s, tq1_0, tq2_0};
use tritburn_formats::file::gguf::{GgmlType, Gguf};
use tritburn_formats::file::{DType, TensorSource};
use tritburn_formats::matrix::pack_codes;
use tritburn_formats::{PackedLayout, PackedMatrix, ScaleGranularity, WeightCode};

use super::source::{FLOATS, Tensors};
use super::stored::{Format, Stored};
use super::{CheckpointError, FloatTensorData, Norm, Projection, Table, Weight};
use crate::config::{DecoderConfig, LinearClass, Quantization};
use crate::text::TokenizerFiles;

/// Names of tensors.
pub(crate) mod names {
    use crate::checkpoint::{Norm, Projection, Table};

    pub fn norm(norm: Norm) -> String {
        match norm {
            Norm::Input(i) => format!("blk.{i}.attn_norm.weight"),
            Norm::PostAttention(i) => format!("blk.{i}.ffn_norm.weight"),
            Norm::AttentionSub(i) => format!("blk.{i}.attn_sub_norm.weight"),
            Norm::FfnSub(i) => format!("blk.{i}.ffn_sub_norm.weight"),
            Norm::Final => "output_norm.weight".to_string(),
        }
    }

    pub fn projection(layer: usize, projection: Projection) -> String {
        let part = match projection {
            Projection::Q => "attn_q",
            Projection::K => "attn_k",
            Projection::V => "attn_v",
            Projection::O => "attn_output",
            Projection::Gate => "ffn_gate",
            Projection::Up => "ffn_up",
            Projection::Down => "ffn_down",
        };
        format!("blk.{layer}.{part}.weight")
    }

    pub fn table(table: Table) -> &'static str {
        match table {
            Table::Embedding => "token_embd.weight",
            Table::Head => "output.weight",
        }
    }
}

const PROJECTION_TYPES: [DType; 6] = [
    DType::Ggml(GgmlType::Tq1_0),
    DType::Ggml(GgmlType::Tq2_0),
    DType::Ggml(GgmlType::I2S),
    DType::F32,
    DType::F16,
    DType::BF16,
];

/// All is in the file.
pub(super) struct GgufFormat;

impl Stored<GgufFormat> {
    pub fn open(file: Gguf) -> Result<Self, CheckpointError> {
        let has_output = file.info(names::table(Table::Head)).is_some();
        // A float file of a ternary model has master weights, or the products of codes and
        // scales, which `projection` recognises.
        let first = file.info(&names::projection(0, Projection::Q));
        let quantization = match first.is_some_and(|info| FLOATS.contains(&info.dtype)) {
            true => Quantization::Online,
            false => Quantization::Packed {
                linear_class: LinearClass::AutoBitLinear,
            },
        };
        let tensors = Tensors(file);
        let metadata = tensors.0.metadata();
        let config = DecoderConfig::from_gguf(metadata, has_output, quantization)
            .map_err(tensors.config_error())?;
        Self::new(tensors, config, GgufFormat)
    }
}

impl Format for GgufFormat {
    type File = Gguf;

    const REPEATS_TIED_HEAD: bool = false;

    fn norm(norm: Norm) -> String {
        names::norm(norm)
    }

    fn table(table: Table) -> &'static str {
        names::table(table)
    }

    fn name(file: &Stored<Self>) -> &'static str {
        let name = names::projection(0, Projection::Q);
        match file.tensors.0.info(&name).map(|info| info.dtype) {
            Some(DType::Ggml(GgmlType::Tq1_0)) => "GGUF, TQ1_0",
            Some(DType::Ggml(GgmlType::Tq2_0)) => "GGUF, TQ2_0",
            Some(DType::Ggml(GgmlType::I2S)) => "GGUF, I2_S",
            _ => "GGUF, float",
        }
    }

    fn check(file: &Stored<Self>) -> Result<HashSet<String>, CheckpointError> {
        let mut known = HashSet::new();
        for (layer, projection) in file.config.projections() {
            let name = names::projection(layer, projection);
            let shape = file.config.projection_shape(projection);
            file.tensors.expect(&name, &shape, &PROJECTION_TYPES)?;
            known.insert(name);
        }
        Ok(known)
    }

    fn projection(
        file: &Stored<Self>,
        layer: usize,
        projection: Projection,
    ) -> Result<Weight, CheckpointError> {
        let name = names::projection(layer, projection);
        let shape @ [out, input] = file.config.projection_shape(projection);
        let info = file.tensors.expect(&name, &shape, &PROJECTION_TYPES)?;
        let decode = match info.dtype {
            DType::Ggml(GgmlType::Tq1_0) => tq1_0::decode,
            DType::Ggml(GgmlType::Tq2_0) => tq2_0::decode,
            DType::Ggml(GgmlType::I2S) => i2_s::decode,
            _ => {
                let data = file.tensors.floats(&name, &shape)?;
                return Ok(match ternary_product(&data, shape) {
                    Some(matrix) => Weight::Packed(matrix),
                    None => Weight::Master(data),
                });
            }
        };
        let matrix = decode(&file.tensors.0.read(&name)?, out, input);
        Ok(Weight::Packed(
            matrix.map_err(CheckpointError::codec(&name))?,
        ))
    }

    fn tokenizer(file: &Stored<Self>) -> Result<TokenizerFiles, CheckpointError> {
        Ok(TokenizerFiles::from_gguf(file.tensors.0.metadata())?)
    }
}

/// Codes and γ of float weights that are -γ, 0 or γ all of them: what converters write that
/// unpack a ternary model. (Their absolute mean is not γ, so they must not be quantised again.)
fn ternary_product(data: &FloatTensorData, [out, input]: [usize; 2]) -> Option<PackedMatrix> {
    let weights = data.to_f32();
    let gamma = weights.iter().find(|w| **w != 0.0)?.abs();
    let ternary = |w: &f32| *w == 0.0 || w.abs() == gamma;
    if !gamma.is_finite() || !weights.par_iter().all(ternary) {
        return None;
    }
    let (code, scale) = (WeightCode::Ternary, ScaleGranularity::Tensor);
    let layout = PackedLayout::new(out, input, code, scale).ok()?;
    let code = |w: &f32| 1 + u8::from(*w > 0.0) - u8::from(*w < 0.0);
    let codes: Vec<u8> = weights.par_iter().map(code).collect();
    let words = pack_codes(&codes, &layout).ok()?;
    PackedMatrix::new(layout, words, vec![gamma]).ok()
}
