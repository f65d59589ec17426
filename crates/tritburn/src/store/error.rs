//! Why a file was not saved or loaded.

use std::path::PathBuf;

use burn::tensor::DType;
use thiserror::Error;
use tritburn_formats::{HeaderError, MatrixError};

use crate::error::PackError;

/// Why a model was not saved or loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The extension names no container this crate writes.
    #[error("{path}: unknown extension, expected .bpk or .safetensors")]
    Extension {
        /// The path given.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("{path}: cannot write: {reason}")]
    Write {
        /// The path given.
        path: PathBuf,
        /// What the container or the operating system said.
        reason: String,
    },
    /// The file cannot be opened.
    #[error("{path} cannot be opened")]
    Open {
        /// The path given.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is truncated or is not what its extension says.
    #[error("{path}: damaged file: {reason}")]
    Damaged {
        /// The path given.
        path: PathBuf,
        /// What the container said.
        reason: String,
    },
    /// The file ends inside a tensor.
    #[error("{path}: truncated: `{tensor}` ends at byte {expected}, the file has {found}")]
    Truncated {
        /// The path given.
        path: PathBuf,
        /// First tensor whose data is not whole.
        tensor: String,
        /// Byte the file must reach.
        expected: u64,
        /// Bytes it has.
        found: u64,
    },
    /// The file names another format.
    #[error("{path}: format is {found:?}, expected {expected:?}")]
    Format {
        /// The path given.
        path: PathBuf,
        /// Format found, if any.
        found: Option<String>,
        /// Format expected.
        expected: &'static str,
    },
    /// The file was written by a version this one cannot read.
    #[error("{path}: format version {found}, this build reads {supported}")]
    Version {
        /// The path given.
        path: PathBuf,
        /// Version found.
        found: String,
        /// Version supported.
        supported: u32,
    },
    /// The model needs a tensor that the file does not have.
    #[error("`{tensor}` is not in the file")]
    Missing {
        /// Path of the tensor.
        tensor: String,
    },
    /// The file has a tensor that the model does not.
    #[error("`{tensor}` is in the file but not in the model")]
    Unexpected {
        /// Path of the tensor.
        tensor: String,
    },
    /// A tensor has another shape than in the model.
    #[error("`{tensor}` has shape {found:?}, the model has {expected:?}")]
    Shape {
        /// Path of the tensor.
        tensor: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape in the model.
        expected: Vec<usize>,
    },
    /// A tensor has an element type that the model cannot take.
    #[error("`{tensor}` has dtype {found:?}, the model has {expected:?}")]
    DType {
        /// Path of the tensor.
        tensor: String,
        /// Type in the file.
        found: DType,
        /// Type in the model.
        expected: DType,
    },
    /// A value that the model's element type cannot hold.
    #[error("`{tensor}` holds {value}, which the model's {dtype:?} cannot")]
    Value {
        /// Path of the tensor.
        tensor: String,
        /// The first such value.
        value: String,
        /// Type in the model.
        dtype: DType,
    },
    /// A layer's header cannot be read.
    #[error("header `{tensor}` cannot be read")]
    Header {
        /// Path of the header.
        tensor: String,
        /// What is wrong.
        source: HeaderError,
    },
    /// A layer was stored with another shape, code table or granularity.
    #[error("`{tensor}` describes {found}, the model has {expected}")]
    Layout {
        /// Path of the header.
        tensor: String,
        /// Layout in the file, as JSON.
        found: String,
        /// Layout in the model, as JSON.
        expected: String,
    },
    /// Packed codes or scales that no packer writes.
    #[error("`{tensor}` holds no packed weights")]
    Packed {
        /// Path of the weight.
        tensor: String,
        /// What is wrong.
        source: MatrixError,
    },
    /// The file holds a latent weight where the model is packed.
    #[error(
        "`{tensor}` is latent in the file and packed in the model: load into an unpacked model"
    )]
    LatentIntoPacked {
        /// Path of the weight.
        tensor: String,
    },
    /// A tensor of the model cannot be read back from its device, or a stored scale is not a positive
    /// number.
    #[error(transparent)]
    Read(#[from] PackError),
}
