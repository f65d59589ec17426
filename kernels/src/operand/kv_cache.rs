//! The key-value cache of one layer.

use cubecl::prelude::*;
use cubecl::server::Handle;

use super::buffer::{Buffer, check_alignment, check_bytes};
use super::float_type::FloatType;
use crate::error::KernelError;

/// Keys and values of one layer: those of a row contiguous, `[B, Hkv, S, D]`, or in blocks that rows
/// share, `[blocks, Hkv, S, D]`.
#[derive(Clone, Debug)]
pub struct KvCache {
    keys: Handle,
    values: Handle,
    shape: [usize; 4],
    dtype: FloatType,
    table: Option<BlockTable>,
}

/// Which blocks hold the positions of each row of a cache: position p of row r is position `p % S` of
/// block `blocks[r · per_row + p / S]`. Read on the device, so that a recorded launch can be replayed for
/// others; a block that the cache lacks counts as its last one, and is not written.
#[derive(Clone, Debug)]
pub struct BlockTable {
    /// Blocks of every row, u32 `[B · per_row]`.
    pub blocks: Buffer,
    /// Blocks of a row.
    pub per_row: usize,
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
            table: None,
        })
    }

    /// A cache of blocks, `shape` `[blocks, Hkv, S, D]`, that `table` gives to rows.
    ///
    /// # Errors
    /// As [`new`](Self::new); [`KernelError::Length`] if the table is not made of whole rows.
    pub fn paged(
        keys: Handle,
        values: Handle,
        shape: [usize; 4],
        table: BlockTable,
        dtype: FloatType,
    ) -> Result<Self, KernelError> {
        let rows = table.blocks.len().checked_div(table.per_row).unwrap_or(0);
        table
            .blocks
            .check_exact("block table", rows * table.per_row)?;
        if rows == 0 {
            return Err(KernelError::Empty {
                operand: "block table",
                shape: [rows, table.per_row],
            });
        }
        let cache = Self::new(keys, values, shape, dtype)?;
        Ok(Self {
            table: Some(table),
            ..cache
        })
    }

    /// Rows of the batch.
    pub fn batch(&self) -> usize {
        match &self.table {
            None => self.shape[0],
            Some(table) => table.blocks.len() / table.per_row,
        }
    }

    /// Blocks, or rows where a row is one block.
    pub(crate) fn blocks(&self) -> usize {
        self.shape[0]
    }

    /// Positions of a block of a cache of blocks.
    pub(crate) fn block(&self) -> Option<usize> {
        self.table.as_ref().map(|_| self.shape[2])
    }

    /// The blocks of rows; any words where rows are contiguous.
    pub(crate) fn table<'a>(&'a self, any: &'a Buffer) -> &'a Buffer {
        self.table.as_ref().map_or(any, |table| &table.blocks)
    }

    /// Heads of keys and values.
    pub fn heads(&self) -> usize {
        self.shape[1]
    }

    /// Most positions of a row.
    pub fn positions(&self) -> usize {
        self.shape[2] * self.table.as_ref().map_or(1, |table| table.per_row)
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
