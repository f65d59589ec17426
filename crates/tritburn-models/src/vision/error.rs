//! Models, images and folders that cannot be used.

use std::io;
use std::path::PathBuf;

use burn::tensor::DType;
use thiserror::Error;
use tritburn::store::StoreError;

use crate::replace::Stuck;

/// Why a vision transformer cannot be made, run, read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VisionError {
    /// Sizes that make no model.
    #[error("the model's configuration: {0}")]
    Config(#[from] ConfigProblem),
    /// Activations in a type that is no float of 16 or 32 bits.
    #[error("activations in {found:?}: possible are f32, bf16 and f16")]
    ActivationType {
        /// Type asked for.
        found: DType,
    },
    /// Images of another size than the model's.
    #[error("images of {found:?} for a model of {expected:?} (channels, height, width)")]
    ImageShape {
        /// Channels, height and width given.
        found: [usize; 3],
        /// Those of the model.
        expected: [usize; 3],
    },
    /// No images at all.
    #[error("a batch of no images")]
    NoImages,
    /// More images than a classifier was made for.
    #[error("{found} images for a classifier of {expected} at a time")]
    Batch {
        /// Images given.
        found: usize,
        /// Images that it takes.
        expected: usize,
    },
    /// A file is no image that can be read.
    #[error("{} is no image that can be read: {reason}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
    },
    /// An image has other colours than the model takes.
    #[error("{} has pixels of {found}, and the model takes {expected} of 8 bits", path.display())]
    Pixels {
        /// The file.
        path: PathBuf,
        /// Its pixels.
        found: String,
        /// What the model takes.
        expected: &'static str,
    },
    /// An image has another size than the model takes.
    #[error(
        "{} is {width} x {height} pixels, and the model takes {expected} x {expected}",
        path.display()
    )]
    Size {
        /// The file.
        path: PathBuf,
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// Height and width of the model's images.
        expected: usize,
    },
    /// A file or folder cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        reason: io::Error,
    },
    /// A file or folder cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        reason: io::Error,
    },
    /// A configuration that is none of a vision transformer.
    #[error("{} is no configuration of a vision transformer: {reason}", path.display())]
    NotVision {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Something is where a model was to be written.
    #[error("{} is there already{}", path.display(), reason)]
    Exists {
        /// The folder.
        path: PathBuf,
        /// Why it is not replaced; empty if that was not asked for.
        reason: String,
    },
    /// The weights cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The weights cannot be packed.
    #[error(transparent)]
    Pack(#[from] tritburn::PackError),
    /// An operation refused its operands.
    #[error(transparent)]
    Operation(#[from] tritburn::Error),
    /// The device failed.
    #[error("the device failed: {reason}")]
    Device {
        /// What it said.
        reason: String,
    },
}

impl From<Stuck> for VisionError {
    fn from(Stuck { path, reason }: Stuck) -> Self {
        Self::Write { path, reason }
    }
}

impl VisionError {
    /// What a failure to read `path` becomes.
    pub(super) fn read(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |reason| Self::Read { path, reason }
    }

    /// What a failure to write `path` becomes.
    pub(super) fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |reason| Self::Write { path, reason }
    }
}

/// What is wrong with the configuration of a vision transformer.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum ConfigProblem {
    /// A size that is zero or too large.
    #[error("{name} is {found}: it is 1 at least and {most} at most")]
    Size {
        /// Name of the size.
        name: &'static str,
        /// Its value.
        found: usize,
        /// Largest value.
        most: usize,
    },
    /// A number of channels that no image has here.
    #[error("{found} channels: images are grey (1) or colour (3)")]
    Channels {
        /// Number of channels.
        found: usize,
    },
    /// A size that does not divide another.
    #[error("{name} {number} is not a multiple of {divisor_name} {divisor}")]
    Indivisible {
        /// Name of the size to be divided.
        name: &'static str,
        /// Its value.
        number: usize,
        /// Name of the divisor.
        divisor_name: &'static str,
        /// Its value.
        divisor: usize,
    },
    /// A single class, of which every image would be.
    #[error("one class: there is nothing to tell apart")]
    OneClass,
    /// Statistics of another number of channels.
    #[error("{found} values of {name} for {channels} channels")]
    PerChannel {
        /// Name of the statistic.
        name: &'static str,
        /// Number of values.
        found: usize,
        /// Number of channels.
        channels: usize,
    },
    /// A number that cannot be.
    #[error("{name} is {value}")]
    Number {
        /// What it is called.
        name: &'static str,
        /// Its value.
        value: f32,
    },
}
