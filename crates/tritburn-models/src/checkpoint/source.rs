//! Checked reads from a model file.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use tritburn_formats::file::{DType, TensorInfo, TensorSource};

use super::{CheckpointError, FloatTensorData, FloatType};
use crate::config::ConfigError;

/// Types of norms, tables and master weights.
pub(super) const FLOATS: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

/// Rows of two tables that are compared at once.
const COMPARED_ROWS: usize = 4096;

/// A model file whose tensors are asked for by name, shape and type.
pub(super) struct Tensors<S>(pub S);

impl<S: TensorSource> Tensors<S> {
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Wraps what is wrong with the configuration.
    pub fn config_error(&self) -> impl FnOnce(ConfigError) -> CheckpointError + use<S> {
        let path = PathBuf::from(self.path());
        move |source| CheckpointError::Config { path, source }
    }

    pub fn stored_bytes(&self) -> u64 {
        self.0.tensors().iter().map(|t| t.byte_len as u64).sum()
    }

    pub fn missing(&self, name: &str) -> CheckpointError {
        CheckpointError::Missing {
            path: self.path().to_path_buf(),
            tensor: name.to_string(),
        }
    }

    /// The tensor `name`, of one of the `types`.
    pub fn typed(&self, name: &str, types: &[DType]) -> Result<&TensorInfo, CheckpointError> {
        let info = self.0.info(name).ok_or_else(|| self.missing(name))?;
        if !types.contains(&info.dtype) {
            let names: Vec<String> = types.iter().map(DType::to_string).collect();
            return Err(CheckpointError::Type {
                path: self.path().to_path_buf(),
                tensor: name.to_string(),
                found: info.dtype.to_string(),
                expected: names.join(" or "),
            });
        }
        Ok(info)
    }

    /// As [`typed`](Self::typed), of that `shape` too.
    pub fn expect(
        &self,
        name: &str,
        shape: &[usize],
        types: &[DType],
    ) -> Result<&TensorInfo, CheckpointError> {
        let info = self.typed(name, types)?;
        if info.shape != shape {
            return Err(CheckpointError::Shape {
                path: self.path().to_path_buf(),
                tensor: name.to_string(),
                found: info.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        Ok(info)
    }

    /// Refuses tensors that are not `known`.
    pub fn refuse_others(&self, known: &HashSet<String>) -> Result<(), CheckpointError> {
        match self.0.tensors().iter().find(|t| !known.contains(&t.name)) {
            None => Ok(()),
            Some(other) => Err(CheckpointError::Unexpected {
                path: self.path().to_path_buf(),
                tensor: other.name.clone(),
            }),
        }
    }

    /// Type of a float tensor that has been checked; F32 otherwise.
    pub fn float_type(&self, name: &str) -> FloatType {
        let info = self.0.info(name);
        info.and_then(|info| FloatType::from_dtype(info.dtype))
            .unwrap_or(FloatType::F32)
    }

    /// The bytes of a whole tensor.
    pub fn bytes(
        &self,
        name: &str,
        shape: &[usize],
        types: &[DType],
    ) -> Result<Vec<u8>, CheckpointError> {
        self.expect(name, shape, types)?;
        Ok(self.0.read(name)?)
    }

    /// A whole tensor of 32-bit words.
    pub fn words(
        &self,
        name: &str,
        shape: &[usize],
        types: &[DType],
    ) -> Result<Vec<u32>, CheckpointError> {
        let bytes = self.bytes(name, shape, types)?;
        let (words, _) = bytes.as_chunks::<4>();
        Ok(words.iter().map(|&word| u32::from_le_bytes(word)).collect())
    }

    /// A whole float tensor.
    pub fn floats(&self, name: &str, shape: &[usize]) -> Result<FloatTensorData, CheckpointError> {
        let bytes = self.bytes(name, shape, &FLOATS)?;
        Ok(FloatTensorData {
            dtype: self.float_type(name),
            shape: shape.to_vec(),
            bytes,
        })
    }

    /// Some rows of a float `[rows, width]` tensor.
    pub fn rows(
        &self,
        name: &str,
        shape: [usize; 2],
        rows: Range<usize>,
    ) -> Result<FloatTensorData, CheckpointError> {
        self.expect(name, &shape, &FLOATS)?;
        check_rows(&rows, shape[0])?;
        let dtype = self.float_type(name);
        let row_bytes = shape[1] * dtype.size();
        let range = rows.start * row_bytes..rows.end * row_bytes;
        Ok(FloatTensorData {
            dtype,
            shape: vec![rows.len(), shape[1]],
            bytes: self.0.read_range(name, range)?,
        })
    }

    /// Whether two float tensors `[rows, width]` have the same values: some rows are in memory at once.
    pub fn same_rows(&self, names: [&str; 2], shape: [usize; 2]) -> Result<bool, CheckpointError> {
        for start in (0..shape[0]).step_by(COMPARED_ROWS) {
            let rows = start..(start + COMPARED_ROWS).min(shape[0]);
            let read = |name| self.rows(name, shape, rows.clone());
            let [a, b] = [read(names[0])?, read(names[1])?];
            if a != b && a.to_f32() != b.to_f32() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Refuses rows that a table of `count` does not have.
pub(crate) fn check_rows(rows: &Range<usize>, count: usize) -> Result<(), CheckpointError> {
    if rows.start <= rows.end && rows.end <= count {
        return Ok(());
    }
    Err(CheckpointError::Rows {
        start: rows.start,
        end: rows.end,
        rows: count,
    })
}

/// Refuses a layer that a model of `layers` does not have.
pub(crate) fn check_layer(layer: usize, layers: usize) -> Result<(), CheckpointError> {
    if layer < layers {
        return Ok(());
    }
    Err(CheckpointError::Layer { layer, layers })
}
