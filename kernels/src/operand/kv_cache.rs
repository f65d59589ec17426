//! The key-value cache of one layer.

use cubecl::prelude::*;
use cubecl::server::Handle;

use super::buffer::{check_alignment, check_bytes};
use super::float_type::FloatType;
use crate::error::KernelError;

/// Keys and values `[B, Hkv, S, D]` of one layer, contiguous.
#[derive(Clone, Debug)]
pub struct KvCache {
    keys: Handle,
    values: Handle,
    shape: [usize; 4],
    dtype: FloatType,
}

impl KvCache {
    /// Widest head.
    pub(crate) const MAX_DIM: usize = 256;

    /// A cache of `shape` `[B, Hkv, S, D]` in `keys` and `values` (their own offsets included).
    ///
    /// # Errors
    /// [`KernelError`] if a dimension is 0, `D` is odd or over 256, a buffer is too small, or one
    /// does not start at a multiple of 16 bytes.
    pub fn new(
        keys: Handle,
        values: Handle,
        shape: [usize; 4],
        dtype: FloatType,
    ) -> Result<Self, KernelError> {
        let [batch, heads, positions, dim] = shape;
        if dim == 0 || dim > Self::MAX_DIM || !dim.is_multiple_of(2) {
            return Err(KernelError::Unsupported {
                what: "head dimension",
                found: dim,
                allowed: "even numbers up to 256",
            });
        }
        if batch * heads * positions == 0 {
            return Err(KernelError::Empty {
                operand: "key-value cache",
                shape: [batch * heads, positions],
            });
        }
        let bytes = shape.iter().product::<usize>() as u64 * dtype.size() as u64;
        for (handle, operand) in [(&keys, "key cache"), (&values, "value cache")] {
            check_bytes(handle, operand, bytes)?;
            check_alignment(handle, operand, 16)?;
        }
        Ok(Self {
            keys,
            values,
            shape,
            dtype,
        })
    }

    /// Rows of the batch.
    pub fn batch(&self) -> usize {
        self.shape[0]
    }

    /// Heads of keys and values.
    pub fn heads(&self) -> usize {
        self.shape[1]
    }

    /// Positions that a row has room for.
    pub fn positions(&self) -> usize {
        self.shape[2]
    }

    /// Dimension of a head.
    pub fn dim(&self) -> usize {
        self.shape[3]
    }

    /// Element type.
    pub fn dtype(&self) -> FloatType {
        self.dtype
    }

    /// Elements of keys, and of values.
    pub(crate) fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Elements of a line of 16 bytes.
    pub(crate) fn width(&self) -> usize {
        16 / self.dtype.size()
    }

    pub(crate) fn key_lines(&self, width: usize) -> BufferArg {
        // SAFETY: `new` checked that the buffer holds the shape.
        unsafe { BufferArg::from_raw_parts(self.keys.clone(), self.elements() / width) }
    }

    pub(crate) fn value_lines(&self, width: usize) -> BufferArg {
        // SAFETY: `new` checked that the buffer holds the shape.
        unsafe { BufferArg::from_raw_parts(self.values.clone(), self.elements() / width) }
    }
}
