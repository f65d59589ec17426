//! Borrowed operands, checked once when they are made.

use tritburn_formats::layout::activation_words_per_row;
use tritburn_formats::{PackedLayout, PackedMatrix, QuantizedActivations, ScaleGranularity};

use crate::error::{CpuError, area, expect_len};

/// Packed weights in the canonical layout.
#[derive(Clone, Copy, Debug)]
pub struct WeightView<'a> {
    layout: &'a PackedLayout,
    words: &'a [u32],
    scales: &'a [f32],
}

impl<'a> WeightView<'a> {
    /// A view of `words` `[out, ceil(in / 16)]` and `scales` `[layout.scale_count()]`.
    ///
    /// # Errors
    /// [`CpuError::Length`] if a slice does not fit the layout.
    pub fn new(
        layout: &'a PackedLayout,
        words: &'a [u32],
        scales: &'a [f32],
    ) -> Result<Self, CpuError> {
        expect_len("words", words.len(), layout.word_count())?;
        expect_len("scales", scales.len(), layout.scale_count())?;
        Ok(Self {
            layout,
            words,
            scales,
        })
    }

    /// A view of a packed matrix.
    pub fn of(matrix: &'a PackedMatrix) -> Self {
        Self {
            layout: matrix.layout(),
            words: matrix.words(),
            scales: matrix.scales(),
        }
    }

    /// Shape, code table and scale granularity.
    pub fn layout(&self) -> &'a PackedLayout {
        self.layout
    }

    /// Packed codes, `[out, ceil(in / 16)]`.
    pub fn words(&self) -> &'a [u32] {
        self.words
    }

    /// Scales γ, ordered as [`ScaleGranularity`] says.
    pub fn scales(&self) -> &'a [f32] {
        self.scales
    }

    /// Inputs per scale, if rows carry several scales.
    pub(crate) fn group(&self) -> Option<usize> {
        match self.layout.scale() {
            ScaleGranularity::Group { size } => Some(*size),
            _ => None,
        }
    }
}

/// Activations quantised per token by [`quantize_activations`](crate::quantize_activations).
#[derive(Clone, Copy, Debug)]
pub struct QuantizedView<'a> {
    codes: &'a [u32],
    scales: &'a [f32],
    in_features: usize,
}

impl<'a> QuantizedView<'a> {
    /// A view of `codes` `[M, 4·ceil(in / 16)]`, int8 four to a little-endian word, and `scales`
    /// `[M]`. Bytes past `in` are ignored.
    ///
    /// # Errors
    /// [`CpuError::Length`] if `codes` does not fit, [`CpuError::EmptyRow`] if `in` is zero.
    pub fn new(codes: &'a [u32], scales: &'a [f32], in_features: usize) -> Result<Self, CpuError> {
        if in_features == 0 {
            return Err(CpuError::EmptyRow);
        }
        let words = area(scales.len(), activation_words_per_row(in_features))?;
        expect_len("codes", codes.len(), words)?;
        Ok(Self {
            codes,
            scales,
            in_features,
        })
    }

    /// A view of activations that `tritburn-formats` quantised.
    pub fn of(activations: &'a QuantizedActivations) -> Self {
        Self {
            codes: activations.words(),
            scales: activations.scales(),
            in_features: activations.in_features(),
        }
    }

    /// Rows M (tokens).
    pub fn rows(&self) -> usize {
        self.scales.len()
    }

    /// Inputs K of a row.
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// int8 codes, `[M, 4·ceil(K / 16)]` words.
    pub fn codes(&self) -> &'a [u32] {
        self.codes
    }

    /// Scale s of each row, `[M]`: the activation is `code · s`.
    pub fn scales(&self) -> &'a [f32] {
        self.scales
    }
}
