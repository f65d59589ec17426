//! Everything that can go wrong.

use std::io;
use std::path::PathBuf;

use burn::tensor::TensorReadError;
use thiserror::Error;
use tritburn::device::DeviceError;
use tritburn_models::vision::VisionError;

use crate::data::DataError;
use crate::train::{CheckpointError, RunError};

pub use training_run::chain;

/// Any error of this program.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The images cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The device cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A model cannot be made, run, read or written.
    #[error(transparent)]
    Model(#[from] VisionError),
    /// The codes of a model cannot be read.
    #[error(transparent)]
    Pack(#[from] tritburn::PackError),
    /// The teacher cannot teach.
    #[error(transparent)]
    Teacher(#[from] TeacherError),
    /// The folder of the training cannot be used, or the training failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// No checkpoint can be resumed from.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// An option that makes no sense.
    #[error("--{name} is {value}: it is between {low} and {high}")]
    OutOfRange {
        /// Name of the option.
        name: &'static str,
        /// Its value.
        value: f64,
        /// Smallest value.
        low: f64,
        /// Largest value.
        high: f64,
    },
    /// A result could not be read from the device.
    #[error("a result could not be read from the device")]
    Read(#[from] TensorReadError),
    /// A model was to be measured on images of other classes or sizes.
    #[error("{} has {model}, and the model {expected}", path.display())]
    OtherData {
        /// The data.
        path: PathBuf,
        /// What they are.
        model: String,
        /// What the model takes.
        expected: String,
    },
    /// The demo's promises were not kept.
    #[error("the demo ran, but {}", failures.join("; "))]
    Demo {
        /// One sentence each.
        failures: Vec<String>,
    },
}

/// A teacher that cannot teach.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TeacherError {
    /// It knows other classes.
    #[error("the teacher {} has {found} classes, the data have {classes}", path.display())]
    Classes {
        /// The teacher.
        path: PathBuf,
        /// Its classes.
        found: usize,
        /// Those of the data.
        classes: usize,
    },
    /// It takes other images.
    #[error("the teacher {} takes images of {found:?}, the data have {expected:?}", path.display())]
    Images {
        /// The teacher.
        path: PathBuf,
        /// Channels, height and width of its images.
        found: [usize; 3],
        /// Those of the data.
        expected: [usize; 3],
    },
    /// Its features are of other patches.
    #[error(
        "the teacher {} sees {found} patches, the model {expected}: --feature-weight 0 learns from its \
         logits alone",
        path.display()
    )]
    Patches {
        /// The teacher.
        path: PathBuf,
        /// Patches of its images.
        found: usize,
        /// Those of the model.
        expected: usize,
    },
    /// A file of logits was asked for features.
    #[error("{} holds logits and no features: pass --feature-weight 0", path.display())]
    NoFeatures {
        /// The file.
        path: PathBuf,
    },
    /// It speaks of other images.
    #[error("{} has logits of {found} images, and {images} are trained on", path.display())]
    Count {
        /// The file.
        path: PathBuf,
        /// Images that it has logits of.
        found: usize,
        /// Training images.
        images: usize,
    },
    /// A file is none of logits, or cannot be written.
    #[error("{} is no file of logits: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        reason: io::Error,
    },
}
