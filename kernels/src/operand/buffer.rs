//! Contiguous buffers of 4-byte elements, and the checks of every buffer.

use cubecl::prelude::*;
use cubecl::server::Handle;

use crate::error::KernelError;

/// Bytes of a line: what one wide load moves, and the alignment that it needs.
pub(crate) const LINE_BYTES: u64 = 16;

/// A rank-1 contiguous device buffer of u32, i32 or f32 elements.
#[derive(Clone, Debug)]
pub struct Buffer {
    handle: Handle,
    len: usize,
}

impl Buffer {
    /// `len` 4-byte elements at the start of `handle` (its own offset included).
    pub fn new(handle: Handle, len: usize) -> Self {
        Self { handle, len }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn check(&self, operand: &'static str, expected: usize) -> Result<(), KernelError> {
        if self.len != expected {
            return Err(KernelError::Length {
                operand,
                expected,
                found: self.len,
            });
        }
        check_bytes(&self.handle, operand, expected as u64 * 4)
    }

    pub(crate) fn check_exact(
        &self,
        operand: &'static str,
        expected: usize,
    ) -> Result<(), KernelError> {
        self.check(operand, expected)?;
        check_alignment(&self.handle, operand, 4)
    }

    /// As [`check_exact`](Self::check_exact), for a buffer that is read 16 bytes at a time.
    pub(crate) fn check_lines(
        &self,
        operand: &'static str,
        expected: usize,
    ) -> Result<(), KernelError> {
        self.check(operand, expected)?;
        check_alignment(&self.handle, operand, LINE_BYTES)
    }

    /// Whether the buffer starts at a multiple of 16 bytes.
    pub(crate) fn starts_lines(&self) -> bool {
        let offset = self.handle.offset_start.unwrap_or(0);
        offset.is_multiple_of(LINE_BYTES)
    }

    /// Whether the buffer starts at a multiple of two elements.
    pub(crate) fn starts_pairs(&self) -> bool {
        self.handle.offset_start.unwrap_or(0).is_multiple_of(8)
    }

    /// The memory.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(crate) fn arg(&self) -> BufferArg {
        // SAFETY: the constructors of the operands check the length against the buffer's bytes.
        unsafe { BufferArg::from_raw_parts(self.handle.clone(), self.len) }
    }

    /// The buffer as lines of `width` elements.
    pub(crate) fn lines(&self, width: usize) -> BufferArg {
        // SAFETY: as in `arg`; rounding down never reaches past the end.
        unsafe { BufferArg::from_raw_parts(self.handle.clone(), self.len / width) }
    }
}

pub(crate) fn check_bytes(
    handle: &Handle,
    operand: &'static str,
    expected: u64,
) -> Result<(), KernelError> {
    let found = handle.size_in_used();
    match found >= expected {
        true => Ok(()),
        false => Err(KernelError::Bytes {
            operand,
            expected,
            found,
        }),
    }
}

pub(crate) fn check_alignment(
    handle: &Handle,
    operand: &'static str,
    alignment: u64,
) -> Result<(), KernelError> {
    let offset = handle.offset_start.unwrap_or(0);
    match offset.is_multiple_of(alignment) {
        true => Ok(()),
        false => Err(KernelError::Alignment {
            operand,
            offset,
            alignment,
        }),
    }
}
