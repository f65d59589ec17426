//! Errors of models and generation.

use thiserror::Error;
use tritburn::PackError;

use super::options::Precision;
use crate::checkpoint::CheckpointError;
use crate::config::Quantization;
use crate::sample::SampleError;

/// What can go wrong when a model is loaded or run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A weight cannot be packed or moved to the device.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// An operation refused its operands.
    #[error(transparent)]
    Operation(#[from] tritburn::Error),
    /// A precision that the weights have no form for.
    #[error(
        "a model stored as {stored:?} does not run in {asked:?}: leave the precision out, or take dense"
    )]
    Precision {
        /// Precision asked for.
        asked: Precision,
        /// How projections are stored.
        stored: Quantization,
    },
    /// A token id outside of the vocabulary.
    #[error("token {index} of prompt {prompt} is {id}, the vocabulary has {vocabulary} entries")]
    TokenId {
        /// Index of the prompt.
        prompt: usize,
        /// Index of the token.
        index: usize,
        /// The id.
        id: u32,
        /// Entries of the vocabulary.
        vocabulary: usize,
    },
    /// Nothing to continue.
    #[error("prompt {prompt} is empty: give at least one token")]
    EmptyPrompt {
        /// Index of the prompt.
        prompt: usize,
    },
    /// Another number of prompts than the session has rows.
    #[error("{found} sequences for a session of {rows}")]
    Rows {
        /// Sequences given.
        found: usize,
        /// Rows of the session.
        rows: usize,
    },
    /// The device's next tokens do not follow from a step.
    #[error("there is no step to go on from: decode() comes first")]
    NoStep,
    /// A sequence longer than what was set aside, or than the model was trained on.
    #[error("sequence {row} needs {needed} positions, {available} are available")]
    Context {
        /// The sequence.
        row: usize,
        /// Positions needed.
        needed: usize,
        /// Positions there are.
        available: usize,
    },
    /// A sequence longer than what sliding layers see.
    #[error(
        "a sequence of {needed} positions: layers of this model see the last {window} only, which is not \
         computed here; up to {window} run"
    )]
    Window {
        /// Positions needed.
        needed: usize,
        /// Positions that a sliding layer sees.
        window: usize,
    },
    /// Logits that are not numbers.
    #[error("the logits of sequence {row} hold a NaN")]
    NonFinite {
        /// The sequence.
        row: usize,
    },
    /// The next token cannot be chosen.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// Weights that belong together cannot be fused.
    #[error(transparent)]
    Fuse(#[from] tritburn::formats::MatrixError),
    /// A tensor could not be read back from the device.
    #[error("reading from the device failed: {reason}")]
    Device {
        /// What the device said.
        reason: String,
    },
}
