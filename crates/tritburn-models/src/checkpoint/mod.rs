//! Checkpoints of any format behind one trait: [`Checkpoint`], [`open`].
//!
//! | format | what is opened |
//! |---|---|
//! | Hugging Face | a folder with `config.json` and safetensors, sharded or not: packed, float master weights, plain float, GPTQ, AWQ |
//! | GGUF | a file: TQ1_0, TQ2_0, I2_S or float projections |
//! | BitNet GPU | `model_state_int2.pt`, or its folder |
//! | tritburn | a folder as [`convert`](crate::convert) writes it, see [`tritburn`] |
//! | synthetic | nothing: [`Synthetic`] makes weights up |
//! | trained model | nothing: [`TrainedCheckpoint`](crate::trainable::TrainedCheckpoint) reads a model that trains |
//!
//! Opening reads headers only and compares every name, shape and type with what the configuration
//! asks for. Weights are then read one tensor (of the embedding: some rows) at a time.
//!
//! # Examples
//!
//! ```
//! use tritburn_models::DecoderConfig;
//! use tritburn_models::checkpoint::{self, Checkpoint, Projection, Synthetic};
//! use tritburn_models::convert::{Options, Target, convert};
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("model");
//! # let made_up = Synthetic::new(DecoderConfig::tiny(), 1)?;
//! # convert(&made_up, &path, Target::Tritburn, &Options::default(), &mut |_| {})?;
//! // A folder or a file of any of these formats.
//! let model = checkpoint::open(&path)?;
//! let layers = model.config().num_hidden_layers;
//! let down = model.projection(layers - 1, Projection::Down)?.into_packed("the last down")?;
//! assert_eq!(down.layout().out_features(), model.config().hidden_size);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod affine;
mod bare;
mod bitnet_gpu;
mod canonical;
mod error;
mod float;
mod gguf;
mod hf;
mod open;
mod overrides;
mod role;
mod source;
mod stored;
mod synthetic;
pub mod tritburn;

use std::ops::Range;

use tritburn_formats::codec::gguf::k_quant::KQuantMatrix;
use tritburn_formats::{AffineMatrix, PackedMatrix};

pub use error::CheckpointError;
pub use float::{FloatTensorData, FloatType};
pub use open::{open, open_with, weights};
pub use overrides::Overrides;
pub use role::{Norm, Projection, Table};
pub use synthetic::Synthetic;

pub(crate) use bitnet_gpu::{check_shape_of_bitnet, names as bitnet_gpu_names};
pub(crate) use canonical::AffineShapes;
pub(crate) use gguf::names as gguf_names;
pub(crate) use hf::{gain_offset, names as hf_names};
pub(crate) use source::{check_layer, check_rows};
pub(crate) use stored::one_scale;

use crate::config::{DecoderConfig, Quantization};
use crate::text::TokenizerFiles;

/// A model's weights, read on demand, whatever they are stored as.
///
/// Rows of q and k are always in the order of half-split rotary embeddings: element `d` of a head
/// turns with element `d + head_dim / 2`.
pub trait Checkpoint: Send + Sync {
    /// Name of the format.
    fn format(&self) -> &'static str;

    /// Shape and constants.
    fn config(&self) -> &DecoderConfig;

    /// Bytes of all tensors as stored.
    fn stored_bytes(&self) -> u64;

    /// The weights of a norm, [`DecoderConfig::norm_size`] values.
    ///
    /// # Errors
    /// [`CheckpointError`], as everything here that reads.
    fn norm(&self, norm: Norm) -> Result<Vec<f32>, CheckpointError>;

    /// The bias of a projection, as many values as it has rows; `None` where it adds none.
    ///
    /// # Errors
    /// Also [`CheckpointError::Layer`] for a layer that is not there.
    fn bias(
        &self,
        layer: usize,
        projection: Projection,
    ) -> Result<Option<Vec<f32>>, CheckpointError> {
        let _ = (layer, projection);
        Ok(None)
    }

    /// Type that the rows of a table are stored in.
    fn table_type(&self, table: Table) -> FloatType;

    /// Some rows of a `[vocab_size, hidden_size]` table. [`Table::Head`] exists only where
    /// embeddings are not tied.
    ///
    /// # Errors
    /// Also [`CheckpointError::Missing`] for a head that is not there and
    /// [`CheckpointError::Rows`] for rows that are not.
    fn table_rows(
        &self,
        table: Table,
        rows: Range<usize>,
    ) -> Result<FloatTensorData, CheckpointError>;

    /// A whole table in the blocks that it is stored in, if they are of a K type: what
    /// [`table_rows`](Self::table_rows) gives as floats.
    ///
    /// # Errors
    /// As [`table_rows`](Self::table_rows).
    fn table_blocks(&self, table: Table) -> Result<Option<KQuantMatrix>, CheckpointError> {
        let _ = table;
        Ok(None)
    }

    /// The weights of a projection, [`DecoderConfig::projection_shape`].
    ///
    /// # Errors
    /// Also [`CheckpointError::Layer`] for a layer that is not there.
    fn projection(&self, layer: usize, projection: Projection) -> Result<Weight, CheckpointError>;

    /// The files for its text. All may be absent.
    ///
    /// # Errors
    /// [`CheckpointError::Text`].
    fn tokenizer(&self) -> Result<TokenizerFiles, CheckpointError>;

    /// All ids that end a sequence or a turn of a chat: those of the [`config`](Self::config), then
    /// what the [`tokenizer`](Self::tokenizer) adds. Ids that the model cannot give are left out.
    ///
    /// # Errors
    /// As [`tokenizer`](Self::tokenizer).
    fn stop_ids(&self) -> Result<Vec<u32>, CheckpointError> {
        let config = self.config();
        let mut ids = Vec::new();
        let all = config.eos_token_ids.iter().copied();
        for id in all.chain(self.tokenizer()?.eos_ids()?) {
            if (id as usize) < config.vocab_size && !ids.contains(&id) {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    /// How projections are stored, and so whether products are ternary.
    fn quantization(&self) -> Quantization {
        self.config().quantization
    }

    /// The whole embedding, `[vocab_size, hidden_size]`.
    ///
    /// # Errors
    /// As [`table_rows`](Self::table_rows).
    fn embedding(&self) -> Result<FloatTensorData, CheckpointError> {
        self.table_rows(Table::Embedding, 0..self.config().vocab_size)
    }

    /// The whole output head, `[vocab_size, hidden_size]`; `None` where it is the embedding.
    ///
    /// # Errors
    /// As [`table_rows`](Self::table_rows).
    fn head(&self) -> Result<Option<FloatTensorData>, CheckpointError> {
        match self.config().tie_word_embeddings {
            true => Ok(None),
            false => self
                .table_rows(Table::Head, 0..self.config().vocab_size)
                .map(Some),
        }
    }
}

/// The weights of a projection.
#[derive(Clone, Debug, PartialEq)]
pub enum Weight {
    /// Codes with scales.
    Packed(PackedMatrix),
    /// Float weights `[out, in]`: to be quantised if the checkpoint's
    /// [`quantization`](Checkpoint::quantization) is [`Quantization::Online`], to be used as they
    /// are otherwise.
    Master(FloatTensorData),
    /// Codes of 2, 3 or 4 bits with a scale and a zero point per group.
    Affine(AffineMatrix),
}

impl Weight {
    /// The weights as codes: packed ones as they are, float ones quantised with one γ for the
    /// whole matrix (absmean), as BitNet b1.58 defines it. `tensor` names them in errors.
    ///
    /// # Errors
    /// [`CheckpointError::Pack`] for weights that are not finite, [`CheckpointError::Affine`] for affine
    /// ones.
    pub fn into_packed(self, tensor: impl Into<String>) -> Result<PackedMatrix, CheckpointError> {
        let data = match self {
            Self::Packed(matrix) => return Ok(matrix),
            Self::Master(data) => data,
            Self::Affine(matrix) => {
                return Err(CheckpointError::Affine {
                    tensor: tensor.into(),
                    bits: matrix.layout().bits().count(),
                });
            }
        };
        data.pack().map_err(|source| CheckpointError::Pack {
            tensor: tensor.into(),
            source,
        })
    }

    /// The weights as floats `[out, in]`: codes times scales in F32, floats as they are.
    pub fn into_float(self) -> FloatTensorData {
        let ([out, input], values) = match self {
            Self::Master(data) => return data,
            Self::Packed(matrix) => {
                let layout = matrix.layout();
                let shape = [layout.out_features(), layout.in_features()];
                (shape, matrix.dequantize())
            }
            Self::Affine(matrix) => {
                let layout = matrix.layout();
                let shape = [layout.out_features(), layout.in_features()];
                (shape, matrix.dequantize())
            }
        };
        FloatTensorData::from_f32(FloatType::F32, vec![out, input], &values)
    }
}

/// Float weights of a model whose weights are products of codes and scales: those products, but for
/// a matrix that was kept in float.
fn unpacked(data: FloatTensorData) -> Weight {
    match data.ternary() {
        Some(matrix) => Weight::Packed(matrix),
        None => Weight::Master(data),
    }
}
