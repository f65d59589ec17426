//! Models that cannot be trained, and inputs that they cannot take.

use burn::tensor::DType;
use thiserror::Error;

use crate::checkpoint::CheckpointError;
use crate::config::ConfigError;
use crate::convert::ConvertError;

/// Why a trainable model cannot be made, run or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainableError {
    /// Sizes that make no model.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The model cannot be written.
    #[error(transparent)]
    Save(#[from] ConvertError),
    /// An operation refused its operands.
    #[error(transparent)]
    Operation(#[from] tritburn::Error),
    /// A checkpoint of codes: what training moves is not in it.
    #[error(
        "the checkpoint ({format}) holds packed weights only: training goes on from the float \
         weights that they were made of, or unpacks them where that is asked for"
    )]
    PackedCheckpoint {
        /// Format of the checkpoint.
        format: &'static str,
    },
    /// Packed weights with more than one scale, which no latent weight of one matrix has.
    #[error("{tensor} has {scales} scales: one per matrix can be unpacked to train on")]
    Scales {
        /// Name of the weights.
        tensor: String,
        /// Number of scales.
        scales: usize,
    },
    /// A model packed in memory: its latent weights are gone.
    #[error("layer {layer} of the model is packed: its float weights are not there to be read")]
    PackedModel {
        /// First packed layer.
        layer: usize,
    },
    /// Activations in a type that is no float of 16 or 32 bits.
    #[error("activations in {found:?}: possible are f32, bf16 and f16")]
    ActivationType {
        /// Type asked for.
        found: DType,
    },
    /// A part of the architecture that has no gradients here.
    #[error("models with {part} run but do not train here")]
    Untrainable {
        /// What the model has.
        part: &'static str,
    },
    /// A teacher of other tokens.
    #[error("the teacher has a vocabulary of {found}, the model one of {vocabulary}")]
    Teacher {
        /// Rows of the teacher's embedding.
        found: usize,
        /// Rows of the model's.
        vocabulary: usize,
    },
    /// Sequences longer than the model has positions.
    #[error("sequences of {found} tokens for a model of {available} positions")]
    Length {
        /// Tokens of a sequence.
        found: usize,
        /// Positions of the model.
        available: usize,
    },
    /// Targets of another shape than the inputs.
    #[error("targets {targets:?} for inputs {inputs:?}: one target for each token is needed")]
    Targets {
        /// Shape of the inputs, `[batch, length]`.
        inputs: [usize; 2],
        /// Shape of the targets.
        targets: [usize; 2],
    },
    /// No tokens at all: their mean loss is no number.
    #[error("a loss over inputs {inputs:?}, which hold no token")]
    NoTokens {
        /// Shape of the inputs, `[batch, length]`.
        inputs: [usize; 2],
    },
}
