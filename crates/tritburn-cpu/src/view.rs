//! Borrowed operands, checked once when they are made.

use tritburn_formats::layout::MAX_IN_FEATURES;
use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};

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
    /// [`CpuError::Length`] if a slice does not fit the layout, [`CpuError::TooManyInputs`] if
    /// `in` is so large that an int2 product could leave i32.
    pub fn new(
        layout: &'a PackedLayout,
        words: &'a [u32],
        scales: &'a [f32],
    ) -> Result<Self, CpuError> {
        expect_len("words", words.len(), layout.word_count())?;
        expect_len("scales", scales.len(), layout.scale_count())?;
        let max = max_in_features(layout.code());
        if layout.in_features() > max {
            return Err(CpuError::TooManyInputs {
                in_features: layout.in_features(),
                max,
            });
        }
        Ok(Self {
            layout,
            words,
            scales,
        })
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

/// Largest number of inputs whose products with int8 activations sum within i32.
fn max_in_features(code: WeightCode) -> usize {
    let largest = (0..code.levels())
        .map(|c| code.value(c).unsigned_abs() as usize)
        .max()
        .unwrap_or(1);
    MAX_IN_FEATURES.min(i32::MAX as usize / (128 * largest))
}

/// u32 words of one row of int8 codes: four to a word, as many as the packed weights of the row
/// cover, `4 · ceil(in / 16)`.
pub fn activation_words(in_features: usize) -> usize {
    4 * in_features.div_ceil(16)
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
    pub fn new(
        codes: &'a [u32],
        scales: &'a [f32],
        in_features: usize,
    ) -> Result<Self, CpuError> {
        if in_features == 0 {
            return Err(CpuError::EmptyRow);
        }
        let words = area(scales.len(), activation_words(in_features))?;
        expect_len("codes", codes.len(), words)?;
        Ok(Self {
            codes,
            scales,
            in_features,
        })
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
