//! GGUF files of the architectures `bitnet-b1.58` (microsoft/BitNet) and `bitnet` (llama.cpp).

use std::collections::HashSet;
use std::ops::Range;

use rayon::prelude::*;
use tritburn_formats::codec::gguf::{i2_s, tq1_0, tq2_0};
use tritburn_formats::file::gguf::{GgmlType, Gguf};
use tritburn_formats::file::{DType, TensorSource};
use tritburn_formats::matrix::pack_codes;
use tritburn_formats::{PackedLayout, PackedMatrix, ScaleGranularity, WeightCode};

use super::source::{FLOATS, Tensors, check_layer};
use super::{Checkpoint, CheckpointError, FloatTensorData, FloatType};
use super::{Norm, Projection, Table, Weight};
use crate::config::{BitNetConfig, LinearClass, Quantization};
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

pub(super) struct GgufFile {
    tensors: Tensors<Gguf>,
    config: BitNetConfig,
}

impl GgufFile {
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
        let config = BitNetConfig::from_gguf(metadata, has_output, quantization)
            .map_err(tensors.config_error())?;
        let this = Self { tensors, config };
        this.check()?;
        Ok(this)
    }

    fn check(&self) -> Result<(), CheckpointError> {
        let (config, tensors) = (&self.config, &self.tensors);
        let mut known = HashSet::new();
        for norm in config.norms() {
            let name = names::norm(norm);
            tensors.expect(&name, &[config.norm_size(norm)], &FLOATS)?;
            known.insert(name);
        }
        for &table in config.tables() {
            let shape = [config.vocab_size, config.hidden_size];
            tensors.expect(names::table(table), &shape, &FLOATS)?;
            known.insert(names::table(table).to_string());
        }
        for (layer, projection) in config.projections() {
            let name = names::projection(layer, projection);
            let shape = config.projection_shape(projection);
            tensors.expect(&name, &shape, &PROJECTION_TYPES)?;
            known.insert(name);
        }
        tensors.refuse_others(&known)
    }
}

impl Checkpoint for GgufFile {
    fn format(&self) -> &'static str {
        let name = names::projection(0, Projection::Q);
        match self.tensors.0.info(&name).map(|info| info.dtype) {
            Some(DType::Ggml(GgmlType::Tq1_0)) => "GGUF, TQ1_0",
            Some(DType::Ggml(GgmlType::Tq2_0)) => "GGUF, TQ2_0",
            Some(DType::Ggml(GgmlType::I2S)) => "GGUF, I2_S",
            _ => "GGUF, float",
        }
    }

    fn config(&self) -> &BitNetConfig {
        &self.config
    }

    fn stored_bytes(&self) -> u64 {
        self.tensors.stored_bytes()
    }

    fn norm(&self, norm: Norm) -> Result<Vec<f32>, CheckpointError> {
        let size = self.config.norm_size(norm);
        Ok(self.tensors.floats(&names::norm(norm), &[size])?.to_f32())
    }

    fn table_type(&self, table: Table) -> FloatType {
        self.tensors.float_type(names::table(table))
    }

    fn table_rows(
        &self,
        table: Table,
        rows: Range<usize>,
    ) -> Result<FloatTensorData, CheckpointError> {
        let shape = [self.config.vocab_size, self.config.hidden_size];
        self.tensors.rows(names::table(table), shape, rows)
    }

    fn projection(&self, layer: usize, projection: Projection) -> Result<Weight, CheckpointError> {
        check_layer(layer, self.config.num_hidden_layers)?;
        let name = names::projection(layer, projection);
        let shape @ [out, input] = self.config.projection_shape(projection);
        let info = self.tensors.expect(&name, &shape, &PROJECTION_TYPES)?;
        let decode = match info.dtype {
            DType::Ggml(GgmlType::Tq1_0) => tq1_0::decode,
            DType::Ggml(GgmlType::Tq2_0) => tq2_0::decode,
            DType::Ggml(GgmlType::I2S) => i2_s::decode,
            _ => {
                let data = self.tensors.floats(&name, &shape)?;
                return Ok(match ternary_product(&data, shape) {
                    Some(matrix) => Weight::Packed(matrix),
                    None => Weight::Master(data),
                });
            }
        };
        let matrix = decode(&self.tensors.0.read(&name)?, out, input);
        Ok(Weight::Packed(
            matrix.map_err(CheckpointError::codec(&name))?,
        ))
    }

    fn tokenizer(&self) -> Result<TokenizerFiles, CheckpointError> {
        Ok(TokenizerFiles::from_gguf(self.tensors.0.metadata())?)
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
