//! Checkpoints of microsoft/BitNet's GPU model: a torch file of fused int2 tensors.
//!
//! The file says little about its model. A Hugging Face `config.json` beside it is read; without
//! one sizes come from the shapes of tensors, and what no shape tells is taken to be as in
//! `bitnet-b1.58-2B-4T`: heads of 128, rotary base 500000, epsilon 1e-5, 4096 positions.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use half::bf16;
use tritburn_formats::codec::bitnet_gpu;
use tritburn_formats::file::{DType, TensorSource, TorchCheckpoint};
use tritburn_formats::matrix::{reorder_rows, rotary_half_split, split_rows};

use super::open::read_config;
use super::source::Tensors;
use super::stored::{Format, Stored};
use super::{CheckpointError, Norm, Overrides, Projection, Table, Weight};
use crate::config::{ConfigError, DecoderConfig, LinearClass, Multipliers, Quantization};
use crate::text::TokenizerFiles;

/// Names of tensors.
pub(crate) mod names {
    use crate::checkpoint::{Norm, Projection, Table};

    /// The file.
    pub const FILE: &str = "model_state_int2.pt";

    pub fn norm(norm: Norm) -> String {
        match norm {
            Norm::Input(i) => format!("layers.{i}.attention_norm.weight"),
            Norm::PostAttention(i) => format!("layers.{i}.ffn_norm.weight"),
            Norm::AttentionSub(i) => format!("layers.{i}.attention.attn_sub_norm.weight"),
            Norm::FfnSub(i) => format!("layers.{i}.feed_forward.ffn_sub_norm.weight"),
            // Models of the format have no others.
            Norm::Query(i)
            | Norm::Key(i)
            | Norm::AttentionResult(i)
            | Norm::FfnResult(i)
            | Norm::Projection(i, _) => format!("layers.{i}.norm"),
            Norm::Final => "norm.weight".to_string(),
        }
    }

    /// Projections that share a tensor, in the order of their rows.
    pub const FUSED: [&[Projection]; 4] = [
        &[Projection::Q, Projection::K, Projection::V],
        &[Projection::O],
        &[Projection::Gate, Projection::Up],
        &[Projection::Down],
    ];

    /// The layer of a row of [`FUSED`]; its tensors begin with it and a dot.
    pub fn fused(layer: usize, projections: &[Projection]) -> String {
        let part = match projections[0] {
            Projection::Q | Projection::K | Projection::V => "attention.wqkv",
            Projection::O => "attention.wo",
            Projection::Gate | Projection::Up => "feed_forward.w13",
            Projection::Down => "feed_forward.w2",
        };
        format!("layers.{layer}.{part}")
    }

    pub fn table(table: Table) -> &'static str {
        match table {
            Table::Embedding => "tok_embeddings.weight",
            Table::Head => "output.weight",
        }
    }
}

/// A file, in a folder with the files of the tokenizer.
pub(super) struct BitNetGpu {
    folder: PathBuf,
}

impl Stored<BitNetGpu> {
    pub fn open(file: &Path, overrides: &Overrides) -> Result<Self, CheckpointError> {
        let tensors = Tensors(TorchCheckpoint::open(file)?);
        let folder = file.parent().unwrap_or(Path::new("")).to_path_buf();
        let packed = Quantization::Packed {
            linear_class: LinearClass::AutoBitLinear,
        };
        let config = match read_config(&folder, overrides, false)? {
            Some(config) => DecoderConfig {
                quantization: packed,
                ..config
            },
            None => inferred(&tensors)?,
        };
        check_shape_of_bitnet(&config).map_err(tensors.config_error())?;
        Self::new(tensors, config, BitNetGpu { folder })
    }

    fn rows(&self, projections: &[Projection]) -> Vec<usize> {
        let rows = |&p: &Projection| self.config.projection_shape(p)[0];
        projections.iter().map(rows).collect()
    }

    /// Of a fused tensor: four weights a byte.
    fn stored_shape(&self, projections: &[Projection]) -> [usize; 2] {
        let in_features = self.config.projection_shape(projections[0])[1];
        [self.rows(projections).iter().sum(), in_features / 4]
    }
}

/// The format has places for the tensors of BitNet b1.58 2B-4T and for no others.
pub(crate) fn check_shape_of_bitnet(config: &DecoderConfig) -> Result<(), ConfigError> {
    let like = DecoderConfig {
        family: config.family,
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        ..DecoderConfig::b1_58_2b_4t()
    };
    let parts = |config: &DecoderConfig| {
        (
            (config.hidden_act, config.sub_norms, config.head_norms),
            (config.post_norms, config.sliding.is_some()),
            (config.biases, config.projection_norm_eps.is_some()),
            (config.inputs, config.rope_scaling.clone()),
            (
                config.multipliers == Multipliers::default(),
                config.partial_rotary_factor,
            ),
        )
    };
    match parts(config) == parts(&like) {
        true => Ok(()),
        false => Err(ConfigError::Unsupported {
            field: "model_type",
            found: config.family.to_string(),
            reason: "BitNet GPU checkpoints hold models of the shape of BitNet b1.58 2B-4T",
        }),
    }
}

/// A configuration from shapes, see the head of this file.
fn inferred(tensors: &Tensors<TorchCheckpoint>) -> Result<DecoderConfig, CheckpointError> {
    let like = DecoderConfig::b1_58_2b_4t();
    let size = |name: &str, axes: usize| {
        let info = tensors.0.info(name).ok_or_else(|| tensors.missing(name))?;
        match info.shape.as_slice() {
            [first, ..] if info.shape.len() == axes => Ok(*first),
            found => Err(CheckpointError::Shape {
                path: tensors.path().to_path_buf(),
                tensor: name.to_string(),
                found: found.to_vec(),
                expected: vec![1; axes],
            }),
        }
    };
    let query_size = size(&names::norm(Norm::AttentionSub(0)), 1)?;
    let fused = format!("{}.weight", names::fused(0, names::FUSED[0]));
    let key_value_size = size(&fused, 2)?.saturating_sub(query_size) / 2;
    let has_layer = |layer: &usize| tensors.0.info(&names::norm(Norm::Input(*layer))).is_some();
    let config = DecoderConfig {
        vocab_size: size(names::table(Table::Embedding), 2)?,
        hidden_size: size(&names::norm(Norm::Input(0)), 1)?,
        intermediate_size: size(&names::norm(Norm::FfnSub(0)), 1)?,
        num_hidden_layers: (0..tensors.0.tensors().len()).take_while(has_layer).count(),
        num_attention_heads: query_size / like.head_dim,
        num_key_value_heads: key_value_size / like.head_dim,
        tie_word_embeddings: head_is_embedding(tensors)?,
        bos_token_id: None,
        eos_token_ids: Vec::new(),
        ..like
    };
    config.validate().map_err(tensors.config_error())?;
    tracing::warn!(
        "{} says nothing of its model and has no config.json beside it: {} heads of {}, rope_theta {}, \
         epsilon {} and {} positions are assumed",
        tensors.path().display(),
        config.num_attention_heads,
        config.head_dim,
        config.rope_theta,
        config.rms_norm_eps,
        config.max_position_embeddings,
    );
    Ok(config)
}

/// Whether both tables have the same values: the published converter writes one table twice.
fn head_is_embedding(tensors: &Tensors<TorchCheckpoint>) -> Result<bool, CheckpointError> {
    let tables = [Table::Embedding, Table::Head].map(names::table);
    let [Some(a), Some(b)] = tables.map(|name| tensors.0.info(name)) else {
        return Ok(true);
    };
    match (a.shape.as_slice(), a.shape == b.shape) {
        (&[rows, width], true) => tensors.same_rows(tables, [rows, width]),
        _ => Ok(false),
    }
}

impl Format for BitNetGpu {
    type File = TorchCheckpoint;

    const REPEATS_TIED_HEAD: bool = true;

    fn norm(norm: Norm, _: &DecoderConfig) -> Vec<String> {
        vec![names::norm(norm)]
    }

    fn bias(layer: usize, projection: Projection) -> String {
        format!("{}.bias", names::fused(layer, &[projection]))
    }

    fn table(table: Table) -> &'static str {
        names::table(table)
    }

    fn name(_: &Stored<Self>) -> &'static str {
        "BitNet GPU, int2"
    }

    fn check(file: &Stored<Self>) -> Result<HashSet<String>, CheckpointError> {
        let tensors = &file.tensors;
        let mut known = HashSet::new();
        for layer in 0..file.config.num_hidden_layers {
            for projections in names::FUSED {
                let name = names::fused(layer, projections);
                let (weight, scale) = (format!("{name}.weight"), format!("{name}.weight_scale"));
                tensors.expect(&weight, &file.stored_shape(projections), &[DType::I8])?;
                tensors.expect(&scale, &[bitnet_gpu::SCALES], &[DType::BF16])?;
                known.extend([weight, scale]);
            }
        }
        Ok(known)
    }

    fn projection(
        file: &Stored<Self>,
        layer: usize,
        projection: Projection,
    ) -> Result<Weight, CheckpointError> {
        let fused = names::FUSED.into_iter().find(|f| f.contains(&projection));
        let fused = fused.unwrap_or_default();
        let name = names::fused(layer, fused);
        let (weight, scale) = (format!("{name}.weight"), format!("{name}.weight_scale"));
        let bytes = file
            .tensors
            .bytes(&weight, &file.stored_shape(fused), &[DType::I8])?;
        let stored = file.tensors.floats(&scale, &[bitnet_gpu::SCALES])?.to_f32();
        let mut scales = [bf16::ZERO; bitnet_gpu::SCALES];
        for (scale, &value) in scales.iter_mut().zip(&stored) {
            *scale = bf16::from_f32(value);
        }
        let rows = file.rows(fused);
        let in_features = file.config.projection_shape(projection)[1];
        let matrix = bitnet_gpu::decode(&bytes, &rows, in_features, scales)
            .map_err(CheckpointError::codec(&weight))?;
        let parts = split_rows(&matrix, &rows).map_err(CheckpointError::pack(&weight))?;
        let index = fused.iter().position(|&p| p == projection).unwrap_or(0);
        let part = &parts[index];
        if !matches!(projection, Projection::Q | Projection::K) {
            return Ok(Weight::Packed(part.clone()));
        }
        let order = rotary_half_split(rows[index], file.config.head_dim);
        let half_split = order.and_then(|order| reorder_rows(part, &order));
        Ok(Weight::Packed(
            half_split.map_err(CheckpointError::pack(&weight))?,
        ))
    }

    fn tokenizer(file: &Stored<Self>) -> Result<TokenizerFiles, CheckpointError> {
        Ok(TokenizerFiles::from_folder(&file.format.folder)?)
    }
}
