//! What can be wrong with a checkpoint.

use std::path::PathBuf;

use thiserror::Error;
use tritburn_formats::codec::CodecError;
use tritburn_formats::file::FileError;
use tritburn_formats::{HeaderError, MatrixError};

use crate::config::ConfigError;
use crate::text::TextError;

/// Why a checkpoint, or a tensor of it, cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A file that cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A model that this crate does not run.
    #[error("{}", path.display())]
    Config {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong with its configuration.
        source: ConfigError,
    },
    /// A tokenizer or one of its files.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Not a checkpoint of a known format.
    #[error("{}: no checkpoint of a known format: {reason}", path.display())]
    Unknown {
        /// What was to be opened.
        path: PathBuf,
        /// What was looked for.
        reason: &'static str,
    },
    /// A folder with several files, each a model of its own.
    #[error(
        "{}: {count} .gguf files: name one of them, such as {}",
        path.display(),
        path.join(first).display()
    )]
    Several {
        /// The folder.
        path: PathBuf,
        /// How many there are.
        count: usize,
        /// Name of the first of them.
        first: PathBuf,
    },
    /// A version of tritburn's own format that this build cannot read.
    #[error("{}: version {found:?} of the format is not supported, only \"{supported}\"", path.display())]
    Version {
        /// The checkpoint.
        path: PathBuf,
        /// Version found.
        found: String,
        /// Version supported.
        supported: &'static str,
    },
    /// A tensor that the configuration asks for and the file does not have.
    #[error("{}: tensor {tensor} is missing", path.display())]
    Missing {
        /// The checkpoint.
        path: PathBuf,
        /// Name of the tensor.
        tensor: String,
    },
    /// A tensor that no part of the model takes, such as a bias: running without it would compute
    /// something else.
    #[error("{}: tensor {tensor} belongs to no part of the model", path.display())]
    Unexpected {
        /// The checkpoint.
        path: PathBuf,
        /// Name of the first such tensor.
        tensor: String,
    },
    /// A tensor of another shape.
    #[error("{}: tensor {tensor} has shape {found:?}, expected {expected:?}", path.display())]
    Shape {
        /// The checkpoint.
        path: PathBuf,
        /// Name of the tensor.
        tensor: String,
        /// Shape found.
        found: Vec<usize>,
        /// Shape that the configuration asks for.
        expected: Vec<usize>,
    },
    /// A tensor of another type.
    #[error("{}: tensor {tensor} is of type {found}, expected {expected}", path.display())]
    Type {
        /// The checkpoint.
        path: PathBuf,
        /// Name of the tensor.
        tensor: String,
        /// Type found.
        found: String,
        /// Types that can be read.
        expected: String,
    },
    /// Stored weights that make no matrix.
    #[error("tensor {tensor}")]
    Codec {
        /// Name of the tensor.
        tensor: String,
        /// What is wrong with it.
        source: CodecError,
    },
    /// A stored header of packed weights.
    #[error("tensor {tensor}")]
    Header {
        /// Name of the tensor.
        tensor: String,
        /// What is wrong with it.
        source: HeaderError,
    },
    /// Weights that cannot be packed.
    #[error("tensor {tensor}")]
    Pack {
        /// Name of the tensor.
        tensor: String,
        /// What is wrong with them.
        source: MatrixError,
    },
    /// Weights with groups where ternary ones are needed.
    #[error("tensor {tensor}: codes of {bits} bits with groups are not ternary")]
    Affine {
        /// Name of the tensor.
        tensor: String,
        /// Bits of a code.
        bits: usize,
    },
    /// A value to override that cannot be.
    #[error("override {text:?}: {reason}")]
    Override {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A scale that no weights can have.
    #[error("tensor {tensor}: scale {index} is {value}, not a positive number")]
    Scale {
        /// Name of the tensor.
        tensor: String,
        /// Index of the first such scale.
        index: usize,
        /// The scale.
        value: f32,
    },
    /// A derived tensor that does not follow from the configuration.
    #[error(
        "{}: tensor {tensor} holds other rotary frequencies than rope_theta {theta} gives: value \
         {index} is {found}, not {expected}",
        path.display()
    )]
    Frequencies {
        /// The checkpoint.
        path: PathBuf,
        /// Name of the tensor.
        tensor: String,
        /// Base that the configuration names.
        theta: f64,
        /// Index of the first that differs.
        index: usize,
        /// Its value.
        found: f32,
        /// What it would be.
        expected: f32,
    },
    /// A weight of a trained model that is no number.
    #[error("tensor {tensor}: value {index} is {value}")]
    NonFinite {
        /// Name of the tensor.
        tensor: String,
        /// Index of the first such value.
        index: usize,
        /// The value.
        value: f32,
    },
    /// A tensor of a trained model could not be read from its device.
    #[error("tensor {tensor} could not be read from its device: {reason}")]
    Device {
        /// Name of the tensor.
        tensor: String,
        /// What the device said.
        reason: String,
    },
    /// A layer that the model does not have.
    #[error("layer {layer} of a model of {layers}")]
    Layer {
        /// Layer asked for.
        layer: usize,
        /// Layers of the model.
        layers: usize,
    },
    /// Rows that a table does not have.
    #[error("rows {start}..{end} of a table of {rows}")]
    Rows {
        /// First row asked for.
        start: usize,
        /// End of the rows asked for.
        end: usize,
        /// Rows of the table.
        rows: usize,
    },
}

impl CheckpointError {
    pub(crate) fn codec(tensor: &str) -> impl FnOnce(CodecError) -> Self {
        let tensor = tensor.to_string();
        move |source| Self::Codec { tensor, source }
    }

    pub(crate) fn pack(tensor: &str) -> impl FnOnce(MatrixError) -> Self {
        let tensor = tensor.to_string();
        move |source| Self::Pack { tensor, source }
    }
}
