//! Folders of Hugging Face transformers.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use tritburn_formats::codec::{ScaleDirection, hf_bitnet};
use tritburn_formats::file::{DType, Safetensors};

use super::source::{FLOATS, Tensors};
use super::stored::{Format, Stored};
use super::{CheckpointError, Norm, Projection, Table, Weight};
use crate::config::{DecoderConfig, LinearClass, Quantization};
use crate::text::TokenizerFiles;

/// Names of tensors.
pub(crate) mod names {
    use crate::checkpoint::{Norm, Projection, Table};

    pub fn norm(norm: Norm) -> String {
        match norm {
            Norm::Input(i) => format!("model.layers.{i}.input_layernorm.weight"),
            Norm::PostAttention(i) => format!("model.layers.{i}.post_attention_layernorm.weight"),
            Norm::AttentionSub(i) => format!("model.layers.{i}.self_attn.attn_sub_norm.weight"),
            Norm::FfnSub(i) => format!("model.layers.{i}.mlp.ffn_sub_norm.weight"),
            Norm::Final => "model.norm.weight".to_string(),
        }
    }

    /// The layer that a projection is; its tensors begin with it and a dot.
    pub fn projection(layer: usize, projection: Projection) -> String {
        let part = match projection {
            Projection::Q | Projection::K | Projection::V | Projection::O => "self_attn",
            Projection::Gate | Projection::Up | Projection::Down => "mlp",
        };
        format!("model.layers.{layer}.{part}.{projection}_proj")
    }

    pub fn table(table: Table) -> &'static str {
        match table {
            Table::Embedding => "model.embed_tokens.weight",
            Table::Head => "lm_head.weight",
        }
    }
}

/// A folder, with the files of the tokenizer.
pub(super) struct Hf {
    folder: PathBuf,
}

impl Stored<Hf> {
    pub fn open(
        folder: &Path,
        tensors: Safetensors,
        config: DecoderConfig,
    ) -> Result<Self, CheckpointError> {
        let folder = folder.to_path_buf();
        Self::new(Tensors(tensors), config, Hf { folder })
    }

    /// Shape of a scale: one value, as a vector or a scalar.
    fn expect_scale(&self, name: &str) -> Result<Vec<usize>, CheckpointError> {
        let info = self.tensors.typed(name, &FLOATS)?;
        if info.shape.is_empty() {
            return Ok(Vec::new());
        }
        self.tensors.expect(name, &[1], &FLOATS)?;
        Ok(vec![1])
    }
}

/// Four rows share a byte.
pub(crate) fn packed_shape([out, input]: [usize; 2]) -> [usize; 2] {
    [out.div_ceil(4), input]
}

impl Format for Hf {
    type File = Safetensors;

    const REPEATS_TIED_HEAD: bool = true;

    fn norm(norm: Norm) -> String {
        names::norm(norm)
    }

    fn table(table: Table) -> &'static str {
        names::table(table)
    }

    fn name(file: &Stored<Self>) -> &'static str {
        match file.config.quantization {
            Quantization::Dense => "Hugging Face, float",
            Quantization::Online => "Hugging Face, master weights",
            Quantization::Packed { .. } => "Hugging Face, packed",
        }
    }

    fn check(file: &Stored<Self>) -> Result<HashSet<String>, CheckpointError> {
        let (config, tensors) = (&file.config, &file.tensors);
        let mut known = HashSet::new();
        for (layer, projection) in config.projections() {
            let name = names::projection(layer, projection);
            let shape = config.projection_shape(projection);
            let weight = format!("{name}.weight");
            if let Quantization::Packed { .. } = config.quantization {
                let scale = format!("{name}.weight_scale");
                tensors.expect(&weight, &packed_shape(shape), &[DType::U8])?;
                file.expect_scale(&scale)?;
                known.insert(scale);
            } else {
                tensors.expect(&weight, &shape, &FLOATS)?;
            }
            known.insert(weight);
        }
        Ok(known)
    }

    fn projection(
        file: &Stored<Self>,
        layer: usize,
        projection: Projection,
    ) -> Result<Weight, CheckpointError> {
        let name = names::projection(layer, projection);
        let shape = file.config.projection_shape(projection);
        let weight = format!("{name}.weight");
        let Quantization::Packed { linear_class } = file.config.quantization else {
            return Ok(Weight::Master(file.tensors.floats(&weight, &shape)?));
        };
        let direction = match linear_class {
            LinearClass::BitLinear => ScaleDirection::Divide,
            LinearClass::AutoBitLinear => ScaleDirection::Multiply,
        };
        let scale = format!("{name}.weight_scale");
        let stored = file.tensors.floats(&scale, &file.expect_scale(&scale)?)?;
        let gamma = direction.to_gamma(stored.to_f32()[0]);
        let gamma = gamma.map_err(CheckpointError::codec(&scale))?;
        let bytes = file
            .tensors
            .bytes(&weight, &packed_shape(shape), &[DType::U8])?;
        let matrix = hf_bitnet::decode(&bytes, shape[0], shape[1], gamma);
        Ok(Weight::Packed(
            matrix.map_err(CheckpointError::codec(&weight))?,
        ))
    }

    fn tokenizer(file: &Stored<Self>) -> Result<TokenizerFiles, CheckpointError> {
        Ok(TokenizerFiles::from_folder(&file.format.folder)?)
    }
}
