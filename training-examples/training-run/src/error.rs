//! What can go wrong with a training, whatever it trains.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::config::ConfigError;
use burn::train::TrainingError;
use thiserror::Error;

use crate::atomic;

/// `atomic::write` with the path in its error.
///
/// # Errors
/// [`RunError::Write`].
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    atomic::write(path, bytes).map_err(RunError::write(path))
}

/// An error and what caused it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let messages: Vec<String> = causes.map(ToString::to_string).collect();
    messages.join(": ")
}

/// A training folder that cannot be used, or a training that failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// A file or folder cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        reason: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        reason: io::Error,
    },
    /// The folder holds a training already.
    #[error("{} holds a training already: pass --resume, or another folder", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// There is no configuration, or it is damaged.
    #[error("{} is no configuration of a training: {error}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: ConfigError,
    },
    /// A resumed training was given other options.
    #[error("the options differ from those in {}: a resumed training keeps them", path.display())]
    OtherConfig {
        /// The saved configuration.
        path: PathBuf,
    },
    /// A resumed training was given other data.
    #[error(
        "the data (fingerprint {found}) are not those of {} ({expected}): a resumed training keeps them",
        path.display()
    )]
    OtherData {
        /// The saved description of the data.
        path: PathBuf,
        /// Fingerprint saved.
        expected: String,
        /// Fingerprint of the data now.
        found: String,
    },
    /// A count that must not be zero.
    #[error("{name} is 0")]
    ZeroSteps {
        /// Name of the option.
        name: &'static str,
    },
    /// The log lacks steps that the checkpoint has behind it.
    #[error("{} has the first {found} steps, and the checkpoint has {steps}", path.display())]
    MissingSteps {
        /// The log.
        path: PathBuf,
        /// Steps in the log.
        found: usize,
        /// Steps behind the checkpoint.
        steps: usize,
    },
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
    /// The loss is no number any more.
    #[error("the loss of step {step} is {loss}: try a lower learning rate")]
    Diverged {
        /// The step.
        step: usize,
        /// Its loss.
        loss: f64,
    },
}

impl RunError {
    /// What a failure to write `path` becomes.
    pub fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |reason| Self::Write { path, reason }
    }

    /// What a failure to read `path` becomes.
    pub fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |reason| Self::Read { path, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_followed_by_its_cause_once() {
        let error = RunError::read(Path::new("text.txt"))(io::Error::other("the disk is gone"));
        assert_eq!(chain(&error), "cannot read text.txt: the disk is gone");
    }
}
