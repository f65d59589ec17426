//! Errors of model files.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::DType;
use super::escape::{escaped, shown};

/// A model file that cannot be read or written, and where in it.
///
/// Offsets count bytes from the start of the file named by `path`.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// The operating system said no.
    #[error("{} cannot be read or written", shown(path))]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A file of another kind.
    #[error("{}: not a {expected} file, it starts with {found:02x?}", shown(path))]
    Magic {
        /// File.
        path: PathBuf,
        /// Kind that was asked for.
        expected: &'static str,
        /// First bytes found.
        found: Vec<u8>,
    },
    /// A file of none of the kinds that are read.
    #[error(
        "{}: no safetensors, GGUF or torch file: it {}",
        shown(path),
        like.map_or_else(|| format!("starts with {found:02x?}"), |like| format!("looks like {like}"))
    )]
    Kind {
        /// File.
        path: PathBuf,
        /// First bytes found.
        found: Vec<u8>,
        /// What starts so, if that is known.
        like: Option<&'static str>,
    },
    /// What Git has in place of a large file.
    #[error(
        "{}: a Git LFS pointer, not the file itself: run `git lfs pull` in its repository",
        shown(path)
    )]
    LfsPointer {
        /// File.
        path: PathBuf,
    },
    /// A folder without a model, or with too many.
    #[error("{}: {}", shown(path), escaped(reason))]
    Folder {
        /// Folder.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A version that this build cannot read.
    #[error("{}: version {found} is not supported, only {supported}", shown(path))]
    Version {
        /// File.
        path: PathBuf,
        /// Version found.
        found: u32,
        /// Versions supported.
        supported: &'static str,
    },
    /// The file ends inside something.
    #[error(
        "{}: {} at offset {offset} needs {expected} bytes, the file has {found} left",
        shown(path),
        escaped(what)
    )]
    Truncated {
        /// File.
        path: PathBuf,
        /// Field or tensor.
        what: String,
        /// Where it starts.
        offset: u64,
        /// Bytes it needs.
        expected: u64,
        /// Bytes left from there.
        found: u64,
    },
    /// A number beyond a limit that keeps memory bounded.
    #[error(
        "{}: {} is {found}, at most {max} is allowed",
        shown(path),
        escaped(what)
    )]
    Limit {
        /// File.
        path: PathBuf,
        /// Which number.
        what: String,
        /// Value found.
        found: u64,
        /// Largest allowed.
        max: u64,
    },
    /// A header that is not what its format prescribes.
    #[error("{}: at offset {offset}: {}", shown(path), escaped(reason))]
    Header {
        /// File.
        path: PathBuf,
        /// Where the bad field is, or where the part that holds it starts.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that occurs twice.
    #[error("{}: {what} {name:?} occurs twice", shown(path))]
    Duplicate {
        /// File.
        path: PathBuf,
        /// Tensor or metadata key.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A type that the format does not hold, or that this build does not know.
    #[error(
        "{}: tensor {tensor:?} has the type {}, which this reader or writer does not know",
        shown(path),
        escaped(found)
    )]
    UnknownType {
        /// File.
        path: PathBuf,
        /// Tensor.
        tensor: String,
        /// Name or number of the type.
        found: String,
    },
    /// A shape that has no size in the tensor's type.
    #[error(
        "{}: tensor {tensor:?} cannot have the shape {shape:?} in {dtype}",
        shown(path)
    )]
    Shape {
        /// File.
        path: PathBuf,
        /// Tensor.
        tensor: String,
        /// Its type.
        dtype: DType,
        /// Its shape.
        shape: Vec<u64>,
    },
    /// A length that contradicts type and shape.
    #[error(
        "{}: tensor {tensor:?} ({dtype} {shape:?}) has {found} bytes, expected {expected}",
        shown(path)
    )]
    ByteLen {
        /// File.
        path: PathBuf,
        /// Tensor.
        tensor: String,
        /// Its type.
        dtype: DType,
        /// Its shape.
        shape: Vec<usize>,
        /// Bytes that type and shape make.
        expected: u64,
        /// Bytes that the file gives it.
        found: u64,
    },
    /// A tensor that overlaps another one, leaves a gap, or is not aligned.
    #[error(
        "{}: tensor {tensor:?} starts at offset {found}, expected {expected}",
        shown(path)
    )]
    Offset {
        /// File.
        path: PathBuf,
        /// Tensor.
        tensor: String,
        /// Where it starts.
        found: u64,
        /// Where it should, or the first offset where it may.
        expected: u64,
    },
    /// Bytes behind the last tensor.
    #[error(
        "{}: the file has {found} bytes, its header describes {expected}",
        shown(path)
    )]
    Trailing {
        /// File.
        path: PathBuf,
        /// Bytes described.
        expected: u64,
        /// Bytes found.
        found: u64,
    },
    /// No tensor of that name.
    #[error("{}: no tensor {tensor:?}", shown(path))]
    NotFound {
        /// File.
        path: PathBuf,
        /// Tensor.
        tensor: String,
    },
    /// A part of a tensor that is not inside it.
    #[error(
        "{}: bytes {start}..{end} of tensor {tensor:?}, which has {len}",
        shown(path)
    )]
    Range {
        /// File.
        path: PathBuf,
        /// Tensor.
        tensor: String,
        /// First byte asked for.
        start: usize,
        /// End of what was asked for.
        end: usize,
        /// Bytes of the tensor.
        len: usize,
    },
    /// A shard name that is no plain file name.
    #[error(
        "{}: shard {shard:?} is not the plain name of a .safetensors file beside the index",
        shown(path)
    )]
    ShardName {
        /// Index.
        path: PathBuf,
        /// Name found.
        shard: String,
    },
    /// A shard without the tensor that the index promises.
    #[error(
        "{}: the index puts tensor {tensor:?} into {}, which lacks it",
        shown(path),
        escaped(shard)
    )]
    ShardTensor {
        /// Index.
        path: PathBuf,
        /// Tensor.
        tensor: String,
        /// Shard.
        shard: String,
    },
    /// A part of a split model that is not there.
    #[error("{}: part {number} of {count} is missing", shown(path))]
    MissingPart {
        /// Where it should be.
        path: PathBuf,
        /// Its number, counted from 1.
        number: u64,
        /// Parts of the model.
        count: u64,
    },
    /// Parts of a split model that do not belong together.
    #[error("{}: {}", shown(path), escaped(reason))]
    Split {
        /// The part that is wrong.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A torch checkpoint that its reader refuses.
    #[error("{} is not a torch checkpoint that can be read", shown(path))]
    Torch {
        /// File.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// More or fewer bytes written than were declared.
    #[error(
        "{}: {found} bytes written of tensor {tensor:?}, declared are {expected}",
        shown(path)
    )]
    Written {
        /// File.
        path: PathBuf,
        /// Tensor.
        tensor: String,
        /// Bytes declared.
        expected: u64,
        /// Bytes written so far, those refused included.
        found: u64,
    },
    /// A file that would contradict the new one.
    #[error(
        "{}: exists, and would be read instead of or beside the new model",
        shown(path)
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },
}

impl FileError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }

    pub(crate) fn header(path: &Path, offset: u64, reason: impl Into<String>) -> Self {
        Self::Header {
            path: path.to_path_buf(),
            offset,
            reason: reason.into(),
        }
    }

    pub(crate) fn limit(path: &Path, what: impl Into<String>, found: u64, max: u64) -> Self {
        Self::Limit {
            path: path.to_path_buf(),
            what: what.into(),
            found,
            max,
        }
    }
}
