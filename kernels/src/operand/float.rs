//! Float matrices and vectors.

use cubecl::prelude::*;
use cubecl::server::Handle;
use tritburn_formats::layout::WEIGHTS_PER_WORD;

use super::buffer::{LINE_BYTES, check_alignment, check_bytes};
use super::float_type::FloatType;
use super::tensor_map::tensor_map;
use crate::error::KernelError;

/// A float matrix `[rows, cols]` whose rows may be pitched.
#[derive(Clone, Debug)]
pub struct FloatMatrix {
    handle: Handle,
    rows: usize,
    cols: usize,
    row_stride: usize,
    dtype: FloatType,
}

impl FloatMatrix {
    /// A matrix of `shape` with element `strides` at the start of `handle` (its own offset
    /// included). The stride of a dimension of size 1 does not matter.
    ///
    /// # Errors
    /// [`KernelError`] if the inner stride is not 1, rows overlap, there are no columns, or the
    /// buffer is too small.
    pub fn new(
        handle: Handle,
        shape: [usize; 2],
        strides: [usize; 2],
        dtype: FloatType,
    ) -> Result<Self, KernelError> {
        let operand = "float matrix";
        let [rows, cols] = shape;
        if cols == 0 {
            return Err(KernelError::Empty { operand, shape });
        }
        if cols > 1 && strides[1] != 1 {
            return Err(KernelError::InnerStride {
                operand,
                stride: strides[1],
            });
        }
        let row_stride = if rows > 1 { strides[0] } else { cols };
        if row_stride < cols {
            return Err(KernelError::RowStride {
                operand,
                stride: row_stride,
                cols,
            });
        }
        let matrix = Self {
            handle,
            rows,
            cols,
            row_stride,
            dtype,
        };
        let bytes = matrix.extent() as u64 * dtype.size() as u64;
        check_bytes(&matrix.handle, operand, bytes)?;
        check_alignment(&matrix.handle, operand, dtype.size() as u64)?;
        Ok(matrix)
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Elements from the start of one row to the start of the next.
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// Element type.
    pub fn dtype(&self) -> FloatType {
        self.dtype
    }

    /// Elements from the first to the last, padding between rows included.
    pub(crate) fn extent(&self) -> usize {
        match self.rows {
            0 => 0,
            rows => (rows - 1) * self.row_stride + self.cols,
        }
    }

    /// Checks shape and that `client`'s device computes with the element type.
    pub(crate) fn check(
        &self,
        client: &Client,
        operand: &'static str,
        expected: [usize; 2],
    ) -> Result<(), KernelError> {
        let found = [self.rows, self.cols];
        if found != expected {
            return Err(KernelError::Shape {
                operand,
                expected,
                found,
            });
        }
        self.dtype.check(client, operand)
    }

    /// Elements that one load along a row may read: those of 16 bytes if every row starts at a multiple
    /// of 16 bytes and has a multiple of 16 columns (a word of weights), else 1.
    pub(crate) fn line_width(&self) -> usize {
        let width = LINE_BYTES as usize / self.dtype.size();
        let aligned = self
            .handle
            .offset_start
            .unwrap_or(0)
            .is_multiple_of(LINE_BYTES);
        let whole = self.cols.is_multiple_of(WEIGHTS_PER_WORD)
            && (self.rows <= 1 || self.row_stride.is_multiple_of(width));
        if aligned && whole { width } else { 1 }
    }

    /// Whether every row starts at a multiple of 16 bytes.
    pub(crate) fn starts_lines(&self) -> bool {
        self.starts_at(LINE_BYTES as usize)
    }

    /// Whether every row starts at a multiple of two elements.
    pub(crate) fn starts_pairs(&self) -> bool {
        self.starts_at(2 * self.dtype.size())
    }

    /// Elements that one store along a row may write: two if every row is made of whole pairs, else 1.
    pub(crate) fn pair_width(&self) -> usize {
        match self.cols.is_multiple_of(2) && self.starts_pairs() {
            true => 2,
            false => 1,
        }
    }

    fn starts_at(&self, bytes: usize) -> bool {
        let offset = self.handle.offset_start.unwrap_or(0);
        let stride = self.row_stride * self.dtype.size();
        offset.is_multiple_of(bytes as u64) && (self.rows <= 1 || stride.is_multiple_of(bytes))
    }

    pub(crate) fn lines(&self, width: usize) -> BufferArg {
        // SAFETY: `new` checked that the buffer holds `extent` elements.
        unsafe { BufferArg::from_raw_parts(self.handle.clone(), self.extent() / width) }
    }

    /// Whether there is no padding between rows.
    pub(crate) fn is_contiguous(&self) -> bool {
        self.row_stride == self.cols
    }

    /// All elements as one row, for a contiguous matrix.
    pub(crate) fn flatten(&self) -> Self {
        debug_assert!(self.is_contiguous());
        let cols = self.rows * self.cols;
        Self {
            rows: 1,
            cols,
            row_stride: cols,
            ..self.clone()
        }
    }

    /// Whether both are the same elements of one buffer, so that an operation on them is in place.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let start = |matrix: &Self| matrix.handle.offset_start.unwrap_or(0);
        self.handle.memory.descriptor() == other.handle.memory.descriptor()
            && start(self) == start(other)
            && self.row_stride == other.row_stride
    }

    /// The argument for output `self` of a kernel whose buffer argument `position` is `input`. If both
    /// are the same it aliases that argument, because CubeCL lets no two buffer arguments overlap.
    pub(crate) fn output_lines(&self, input: &Self, position: usize, width: usize) -> BufferArg {
        match self.is_same(input) {
            true => BufferArg::alias(position, self.extent() / width),
            false => self.lines(width),
        }
    }

    /// A tensor map of the matrix, whose rows must start at multiples of 16 bytes.
    pub(crate) fn tensor_map(&self, tile: [usize; 2]) -> TensorMapArg<Tiled> {
        let shape = [self.rows, self.cols];
        let (element, dtype) = (self.dtype.size(), self.dtype.elem());
        tensor_map(&self.handle, shape, self.row_stride, element, dtype, tile)
    }
}

/// A contiguous float vector: a bias.
#[derive(Clone, Debug)]
pub struct FloatVector {
    handle: Handle,
    len: usize,
    dtype: FloatType,
}

impl FloatVector {
    /// `len` elements at the start of `handle` (its own offset included).
    ///
    /// # Errors
    /// [`KernelError::Bytes`] or [`KernelError::Alignment`].
    pub fn new(handle: Handle, len: usize, dtype: FloatType) -> Result<Self, KernelError> {
        check_bytes(&handle, "float vector", (len * dtype.size()) as u64)?;
        check_alignment(&handle, "float vector", dtype.size() as u64)?;
        Ok(Self { handle, len, dtype })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Element type.
    pub fn dtype(&self) -> FloatType {
        self.dtype
    }

    pub(crate) fn check(
        &self,
        client: &Client,
        operand: &'static str,
        expected: usize,
    ) -> Result<(), KernelError> {
        if self.len != expected {
            return Err(KernelError::Length {
                operand,
                expected,
                found: self.len,
            });
        }
        self.dtype.check(client, operand)
    }

    pub(crate) fn arg(&self) -> BufferArg {
        self.lines(1)
    }

    /// The vector as lines of `width` elements.
    pub(crate) fn lines(&self, width: usize) -> BufferArg {
        // SAFETY: `new` checked that the buffer holds `len` elements.
        unsafe { BufferArg::from_raw_parts(self.handle.clone(), self.len / width) }
    }

    /// Elements that one load may read, up to `most`: those of 16 bytes if the vector starts at a
    /// multiple of 16 bytes and is made of whole lines, else 1.
    pub(crate) fn line_width(&self, most: usize) -> usize {
        let offset = self.handle.offset_start.unwrap_or(0);
        let whole = offset.is_multiple_of(LINE_BYTES) && self.len.is_multiple_of(most);
        let width = most.min(LINE_BYTES as usize / self.dtype.size());
        if whole { width } else { 1 }
    }
}
