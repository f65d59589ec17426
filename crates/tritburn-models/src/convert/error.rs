//! Conversions that do not succeed.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use tritburn_formats::codec::CodecError;
use tritburn_formats::file::FileError;

use super::Loss;
use crate::checkpoint::{CheckpointError, FloatType};
use crate::text::TextError;

/// Why a conversion wrote nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// A format that does not exist.
    #[error(
        "no format {found:?}; there are hf, gguf-tq1_0, gguf-tq2_0, gguf-q2_0, gguf-i2_s, tritburn, bitnet-gpu, bf16 and f32"
    )]
    Target {
        /// Name given.
        found: String,
    },
    /// The checkpoint cannot be read.
    #[error("reading the checkpoint")]
    Read(#[from] CheckpointError),
    /// A plain float model, which no ternary format holds.
    #[error(
        "the checkpoint is a plain float model, which only bf16 and f32 can hold: making it ternary \
         needs training, not conversion"
    )]
    Dense,
    /// The format cannot hold a tensor at all.
    #[error("{tensor} cannot be written")]
    Codec {
        /// Name of the tensor in the target.
        tensor: String,
        /// Why.
        source: CodecError,
    },
    /// The format cannot hold the model.
    #[error("{target} cannot hold the model: {reason}")]
    Model {
        /// The format.
        target: &'static str,
        /// Why.
        reason: String,
    },
    /// A width that the programs which read the format cannot address.
    #[error("{target} needs rows of whole blocks of {block} weights: {field} is {found}")]
    Width {
        /// The format.
        target: &'static str,
        /// Name of the width.
        field: &'static str,
        /// The width.
        found: usize,
        /// What it must be a multiple of.
        block: usize,
    },
    /// Values of a table beyond the largest of the type that they would be written in.
    #[error(
        "{count} values of {tensor} would be infinite in {dtype}: write the table in another type"
    )]
    Infinite {
        /// Name of the tensor in the target.
        tensor: String,
        /// The type.
        dtype: FloatType,
        /// How many.
        count: u64,
    },
    /// A scale beyond the largest that the format holds.
    #[error("the scale {found} of {tensor} would be infinite")]
    InfiniteScale {
        /// Name of the tensor in the target.
        tensor: String,
        /// The scale.
        found: f32,
    },
    /// Something would be lost, and that was not allowed.
    #[error("the conversion would lose something: {}", list(losses))]
    Lossy {
        /// Everything that would be lost.
        losses: Vec<Loss>,
    },
    /// The user wanted an end.
    #[error("interrupted")]
    Cancelled,
    /// Something is there already.
    #[error("{} exists", path.display())]
    Exists {
        /// Where the result was to go.
        path: PathBuf,
    },
    /// Something is there that no conversion wrote.
    #[error("{} is not replaced: {reason}", path.display())]
    Kept {
        /// Where the result was to go.
        path: PathBuf,
        /// Why it is kept.
        reason: String,
    },
    /// A folder is there that holds files of a model, but none that can be opened.
    #[error("{} is not replaced: it holds no model", path.display())]
    NoModel {
        /// Where the result was to go.
        path: PathBuf,
        /// Why it is none.
        source: Box<CheckpointError>,
    },
    /// Writing failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A folder or file cannot be made, replaced or removed.
    #[error("{} cannot be made, replaced or removed", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The tokenizer cannot be written.
    #[error(transparent)]
    Text(#[from] TextError),
    /// What was written cannot be read back.
    #[error("the result cannot be read back")]
    Verify(#[source] CheckpointError),
    /// What was written reads back as something else.
    #[error("the result differs from what was to be written: {what}")]
    Differs {
        /// What differs.
        what: String,
    },
}

const SHOWN: usize = 8;

fn list(losses: &[Loss]) -> String {
    let shown = losses.iter().take(SHOWN).map(Loss::to_string);
    let mut text = shown.collect::<Vec<_>>().join("; ");
    if losses.len() > SHOWN {
        text += &format!("; and {} more", losses.len() - SHOWN);
    }
    text
}

impl ConvertError {
    pub(super) fn codec(tensor: &str) -> impl FnOnce(CodecError) -> Self {
        let tensor = tensor.to_string();
        move |source| Self::Codec { tensor, source }
    }
}
