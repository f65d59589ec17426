//! What a writer must know of a tensor before its bytes come.

use std::path::Path;

use super::{DType, FileError};

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name, unique in its file.
    pub name: String,
    /// Type of its elements or blocks.
    pub dtype: DType,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// A tensor of `name`, `dtype` and `shape`.
    pub fn new(name: impl Into<String>, dtype: DType, shape: impl Into<Vec<usize>>) -> Self {
        Self {
            name: name.into(),
            dtype,
            shape: shape.into(),
        }
    }

    pub(crate) fn byte_len(&self, path: &Path) -> Result<usize, FileError> {
        match self.dtype {
            DType::Ggml(kind) if !kind.is_known() => Err(self.type_error(path)),
            dtype => dtype
                .byte_len(&self.shape)
                .ok_or_else(|| self.shape_error(path)),
        }
    }

    pub(crate) fn type_error(&self, path: &Path) -> FileError {
        FileError::UnknownType {
            path: path.to_path_buf(),
            tensor: self.name.clone(),
            found: self.dtype.to_string(),
        }
    }

    pub(crate) fn shape_error(&self, path: &Path) -> FileError {
        FileError::Shape {
            path: path.to_path_buf(),
            tensor: self.name.clone(),
            dtype: self.dtype,
            shape: self.shape.iter().map(|&extent| extent as u64).collect(),
        }
    }
}
