//! What every model file offers to those who load from it.

use std::ops::Range;
use std::path::Path;

use super::{DType, FileError};

/// One stored tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name, unique in its file.
    pub name: String,
    /// Type of its elements or blocks.
    pub dtype: DType,
    /// Extents, outermost first (GGUF stores them the other way round). Empty for a scalar.
    pub shape: Vec<usize>,
    /// Bytes of its data. Of a GGUF type whose size is not known: the bytes up to the next tensor.
    pub byte_len: usize,
}

/// A model file, or several that make one model, open for reading. Tensors are read one by one, with
/// positioned reads; several threads may read at once.
pub trait TensorSource: Send + Sync {
    /// The file or folder that was opened.
    fn path(&self) -> &Path;

    /// All tensors, in the order of their data where the file tells it.
    fn tensors(&self) -> &[TensorInfo];

    /// The tensor of that name.
    fn info(&self, name: &str) -> Option<&TensorInfo>;

    /// What is odd about the file but does not stop it from being read, a sentence each: tensors of
    /// unclear type, files beside it that contradict it. For people to read; empty for most files.
    fn problems(&self) -> Vec<String> {
        Vec::new()
    }

    /// Fills `buffer` with the bytes of `name` from byte `start` of the tensor on, little-endian.
    ///
    /// # Errors
    /// [`FileError::NotFound`], [`FileError::Range`], [`FileError::UnknownType`], and what reading
    /// gives.
    fn read_into(&self, name: &str, start: usize, buffer: &mut [u8]) -> Result<(), FileError>;

    /// The bytes `range` of tensor `name`.
    ///
    /// # Errors
    /// As [`read_into`](Self::read_into).
    fn read_range(&self, name: &str, range: Range<usize>) -> Result<Vec<u8>, FileError> {
        require_range(self, name, &range)?;
        let mut bytes = vec![0; range.len()];
        self.read_into(name, range.start, &mut bytes)?;
        Ok(bytes)
    }

    /// All bytes of tensor `name`.
    ///
    /// # Errors
    /// As [`read_into`](Self::read_into).
    fn read(&self, name: &str) -> Result<Vec<u8>, FileError> {
        let len = self.require(name)?.byte_len;
        self.read_range(name, 0..len)
    }

    /// The tensor of that name, or the error that says it is missing.
    ///
    /// # Errors
    /// [`FileError::NotFound`].
    fn require(&self, name: &str) -> Result<&TensorInfo, FileError> {
        self.info(name).ok_or_else(|| FileError::NotFound {
            path: self.path().to_path_buf(),
            tensor: name.to_string(),
        })
    }
}

/// Tensor `name`, if it has the bytes `range`: checked before anything is allocated for them.
pub(crate) fn require_range<'a, S: TensorSource + ?Sized>(
    source: &'a S,
    name: &str,
    range: &Range<usize>,
) -> Result<&'a TensorInfo, FileError> {
    let info = source.require(name)?;
    if range.start <= range.end && range.end <= info.byte_len {
        return Ok(info);
    }
    Err(FileError::Range {
        path: source.path().to_path_buf(),
        tensor: info.name.clone(),
        start: range.start,
        end: range.end,
        len: info.byte_len,
    })
}

/// The bytes of a tensor that fill `buffer` from byte `start` on. An end beyond usize is in no tensor.
pub(crate) fn buffer_range(start: usize, buffer: &[u8]) -> Range<usize> {
    start..start.saturating_add(buffer.len())
}
