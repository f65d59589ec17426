//! Activations that are quantised per token.

use cubecl::prelude::*;
use tritburn_formats::layout::{MAX_IN_FEATURES, activation_words_per_row};

use super::buffer::Buffer;
use super::tensor_map::tensor_map;
use crate::error::KernelError;

/// Per-token int8 activations `[M, K]`: `4·ceil(K/16)` words a row, four little-endian int8 a
/// word, zeros past `K`; one f32 scale a row, `x ≈ q · scale`.
#[derive(Clone, Debug)]
pub struct QuantizedActivations {
    rows: usize,
    cols: usize,
    codes: Buffer,
    scales: Buffer,
}

impl QuantizedActivations {
    /// `rows × cols` activations in `codes` (u32, `rows · words_per_row(cols)`) and `scales` (f32,
    /// `rows`). `rows` may be 0.
    ///
    /// # Errors
    /// [`KernelError`] if `cols` is 0 or over [`MAX_IN_FEATURES`], a buffer has another length or
    /// is too small, or the codes do not start at a multiple of 16 bytes.
    pub fn new(
        rows: usize,
        cols: usize,
        codes: Buffer,
        scales: Buffer,
    ) -> Result<Self, KernelError> {
        if cols == 0 {
            return Err(KernelError::Empty {
                operand: "activations",
                shape: [rows, cols],
            });
        }
        if cols > MAX_IN_FEATURES {
            return Err(KernelError::InFeatures {
                operand: "activations",
                in_features: cols,
                max: MAX_IN_FEATURES,
            });
        }
        codes.check_lines("activation codes", rows * Self::words_per_row(cols))?;
        scales.check_exact("activation scales", rows)?;
        Ok(Self {
            rows,
            cols,
            codes,
            scales,
        })
    }

    /// u32 words of one row of `cols` activations: `4·ceil(cols/16)`.
    pub const fn words_per_row(cols: usize) -> usize {
        activation_words_per_row(cols)
    }

    /// Tokens.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs of a token.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The int8 codes, four a word.
    pub fn codes(&self) -> &Buffer {
        &self.codes
    }

    /// The per-token scales.
    pub fn scales(&self) -> &Buffer {
        &self.scales
    }

    /// A tensor map of the codes, in words of four.
    pub(crate) fn tensor_map(&self, tile: [usize; 2]) -> TensorMapArg<Tiled> {
        let words = Self::words_per_row(self.cols);
        let dtype = u32::elem_type_native();
        tensor_map(
            self.codes.handle(),
            [self.rows, words],
            words,
            4,
            dtype,
            tile,
        )
    }
}
