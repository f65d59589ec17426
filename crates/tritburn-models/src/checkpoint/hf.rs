//! Folders of Hugging Face transformers.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use tritburn_formats::codec::{ScaleDirection, hf_bitnet};
use tritburn_formats::file::{DType, Safetensors};

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

pub(super) struct HfFolder {
    tensors: Tensors<Safetensors>,
    config: BitNetConfig,
    folder: std::path::PathBuf,
}

impl HfFolder {
    pub fn open(
        folder: &Path,
        tensors: Safetensors,
        config: BitNetConfig,
    ) -> Result<Self, CheckpointError> {
        let this = Self {
            tensors: Tensors(tensors),
            config,
            folder: folder.to_path_buf(),
        };
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
        }
        // A tied head may be stored a second time.
        known.extend([Table::Embedding, Table::Head].map(|t| names::table(t).to_string()));
        for (layer, projection) in config.projections() {
            let name = names::projection(layer, projection);
            let shape = config.projection_shape(projection);
            let weight = format!("{name}.weight");
            if let Quantization::Packed { .. } = config.quantization {
                let scale = format!("{name}.weight_scale");
                tensors.expect(&weight, &packed_shape(shape), &[DType::U8])?;
                self.expect_scale(&scale)?;
                known.insert(scale);
            } else {
                tensors.expect(&weight, &shape, &FLOATS)?;
            }
            known.insert(weight);
        }
        tensors.refuse_others(&known)
    }

    /// One value, as a vector or a scalar.
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

impl Checkpoint for HfFolder {
    fn format(&self) -> &'static str {
        match self.config.quantization {
            Quantization::Dense => "Hugging Face, float",
            Quantization::Online => "Hugging Face, master weights",
            Quantization::Packed { .. } => "Hugging Face, packed",
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
        let shape = self.config.projection_shape(projection);
        let weight = format!("{name}.weight");
        let Quantization::Packed { linear_class } = self.config.quantization else {
            return Ok(Weight::Master(self.tensors.floats(&weight, &shape)?));
        };
        let direction = match linear_class {
            LinearClass::BitLinear => ScaleDirection::Divide,
            LinearClass::AutoBitLinear => ScaleDirection::Multiply,
        };
        let scale = format!("{name}.weight_scale");
        let stored = self.tensors.floats(&scale, &self.expect_scale(&scale)?)?;
        let gamma = direction.to_gamma(stored.to_f32()[0]);
        let gamma = gamma.map_err(CheckpointError::codec(&scale))?;
        let bytes = self
            .tensors
            .bytes(&weight, &packed_shape(shape), &[DType::U8])?;
        let matrix = hf_bitnet::decode(&bytes, shape[0], shape[1], gamma);
        Ok(Weight::Packed(
            matrix.map_err(CheckpointError::codec(&weight))?,
        ))
    }

    fn tokenizer(&self) -> Result<TokenizerFiles, CheckpointError> {
        Ok(TokenizerFiles::from_folder(&self.folder)?)
    }
}
