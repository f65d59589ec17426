//! Everything that can go wrong.

use std::path::PathBuf;

use burn::tensor::TensorReadError;
use thiserror::Error;

use crate::data::DataError;
use crate::model::ConfigError;
use crate::train::{CheckpointError, RunError};
use tritburn::device::DeviceError;
use tritburn_models::convert::ConvertError;
use tritburn_models::model::ModelError;
use tritburn_models::text::TextError;
use tritburn_models::trainable::TrainableError;

/// Any error of this program.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The text cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The device cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The sizes do not make a model.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The folder of the training cannot be used, or the training failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// No checkpoint can be resumed from.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The folder of a model cannot be read.
    #[error(transparent)]
    Open(#[from] tritburn_models::checkpoint::CheckpointError),
    /// A model cannot be trained, or its folder cannot be written.
    #[error(transparent)]
    Trainable(#[from] TrainableError),
    /// The tokenizer cannot be made.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A model cannot be loaded or run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A model cannot be packed into a folder.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// The codes of a model cannot be read.
    #[error(transparent)]
    Pack(#[from] tritburn::PackError),
    /// A result could not be read from the device.
    #[error("a result could not be read from the device")]
    Read(#[from] TensorReadError),
    /// A float model was to be packed.
    #[error("{} holds a model trained with --dense: it has no ternary weights to pack", folder.display())]
    Dense {
        /// The folder of the training.
        folder: PathBuf,
    },
    /// A tokenizer with more tokens than the model has rows for.
    #[error("the tokenizer of {} has {found} tokens, and the model rows for {rows}", path.display())]
    Vocabulary {
        /// The model.
        path: PathBuf,
        /// Tokens of the tokenizer.
        found: usize,
        /// Rows of the embedding.
        rows: usize,
    },
    /// Steps that do not divide between the devices.
    #[error(
        "{windows} windows a step leave one of {devices} devices fewer than {parts}: make --batch-size a \
         multiple of {devices}"
    )]
    Devices {
        /// Number of devices.
        devices: usize,
        /// Windows of a step.
        windows: usize,
        /// Windows that each device needs.
        parts: usize,
    },
    /// Nothing to fine-tune on.
    #[error("there is nothing to fine-tune on: --data names text or conversations")]
    NoData,
    /// The demo was to train on tokens.
    #[error("the demo trains on bytes: --data names tokens of a vocabulary of {found}")]
    DemoTokens {
        /// Number of tokens of the vocabulary.
        found: usize,
    },
    /// The demo's promises were not kept.
    #[error("the demo ran, but {}", failures.join("; "))]
    Demo {
        /// One sentence each.
        failures: Vec<String>,
    },
}

pub use training_run::chain;

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_message_is_followed_by_its_cause_once() {
        let path = PathBuf::from("text.txt");
        let reason = io::Error::other("the disk is gone");
        let error = Error::from(DataError::Unreadable { path, reason });
        assert_eq!(chain(&error), "cannot read text.txt: the disk is gone");
    }
}
