//! Everything that can go wrong.

use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::TensorReadError;
use burn::train::TrainingError;
use thiserror::Error;

use crate::data::DataError;
use crate::model::ConfigError;
use crate::train::{CheckpointError, RunError};
use tritburn::device::DeviceError;

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
    /// A model file cannot be written or read.
    #[error(transparent)]
    Store(#[from] tritburn::store::StoreError),
    /// A model cannot be packed.
    #[error(transparent)]
    Pack(#[from] tritburn::PackError),
    /// A result could not be read from the device.
    #[error("a result could not be read from the device")]
    Read(#[from] TensorReadError),
    /// Burn stopped the training.
    #[error("training stopped: {0}")]
    Training(Arc<TrainingError>),
    /// Someone stopped the training.
    #[error("training stopped: {reason}; `train --resume --output {}` goes on", folder.display())]
    Interrupted {
        /// Why.
        reason: String,
        /// The folder of the training.
        folder: PathBuf,
    },
    /// A float model was to be packed.
    #[error("{} holds a model trained with --dense: it has no ternary weights to pack", folder.display())]
    Dense {
        /// The folder of the training.
        folder: PathBuf,
    },
    /// The demo's promises were not kept.
    #[error("the demo ran, but {}", failures.join("; "))]
    Demo {
        /// One sentence each.
        failures: Vec<String>,
    },
}

/// An error and what caused it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let messages: Vec<String> = causes.map(ToString::to_string).collect();
    messages.join(": ")
}

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
