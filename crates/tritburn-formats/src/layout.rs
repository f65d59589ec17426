//! The canonical layout: `[out, ceil(in / 16)]` little-endian u32 words, 16 consecutive inputs a
//! word, input `k` at bit `2·(k mod 16)`, padding code 1.

use serde::{Deserialize, Serialize};

use crate::code::WeightCode;
use crate::error::LayoutError;
use crate::scale::ScaleGranularity;

/// Weights in one u32 word.
pub const WEIGHTS_PER_WORD: usize = 16;

/// Largest `in_features` of any code: up to it no i32 accumulator of ternary × int8 products can
/// overflow, biased codes (0..=2) included. Int2 has a lower limit of its own, see
/// [`WeightCode::max_in_features`].
pub const MAX_IN_FEATURES: usize = (1 << 23) - 1;

/// u32 words that hold one row of `in_features` int8 activations, four a word (input `4j + b` is
/// byte `b` of word `j`, little-endian), zero padded to the 16 inputs of a weight word:
/// `4 · ceil(in / 16)`.
pub const fn activation_words_per_row(in_features: usize) -> usize {
    4 * in_features.div_ceil(WEIGHTS_PER_WORD)
}

/// Shape, code table and scale granularity of a packed `[out, in]` weight matrix. Always valid.
///
/// # Examples
///
/// ```
/// use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};
///
/// let layout = PackedLayout::new(3, 40, WeightCode::Ternary, ScaleGranularity::Group { size: 32 })?;
/// // 40 weights are two whole words and half of a third; two groups a row have a scale each.
/// assert_eq!((layout.words_per_row(), layout.word_count()), (3, 9));
/// assert_eq!(layout.scale_count(), 6);
/// # Ok::<(), tritburn_formats::LayoutError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawLayout")]
pub struct PackedLayout {
    out_features: usize,
    in_features: usize,
    code: WeightCode,
    scale: ScaleGranularity,
}

impl PackedLayout {
    /// A layout of `out_features` rows of `in_features` weights.
    ///
    /// # Errors
    /// [`LayoutError`] if a size is zero, `in_features` is over [`WeightCode::max_in_features`],
    /// the matrix has more than `u32::MAX` words, or the granularity does not fit.
    pub fn new(
        out_features: usize,
        in_features: usize,
        code: WeightCode,
        scale: ScaleGranularity,
    ) -> Result<Self, LayoutError> {
        check_sizes(out_features, in_features, code.max_in_features())?;
        let words = in_features.div_ceil(WEIGHTS_PER_WORD);
        if out_features
            .checked_mul(words)
            .is_none_or(|n| n > u32::MAX as usize)
        {
            return Err(LayoutError::TooLarge {
                out_features,
                in_features,
            });
        }
        scale.validate(out_features)?;
        Ok(Self {
            out_features,
            in_features,
            code,
            scale,
        })
    }

    /// Rows of the matrix.
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// Columns of the matrix.
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// Code table.
    pub fn code(&self) -> WeightCode {
        self.code
    }

    /// Scale granularity.
    pub fn scale(&self) -> &ScaleGranularity {
        &self.scale
    }

    /// u32 words of one row: `ceil(in / 16)`.
    pub fn words_per_row(&self) -> usize {
        self.in_features.div_ceil(WEIGHTS_PER_WORD)
    }

    /// u32 words of the matrix.
    pub fn word_count(&self) -> usize {
        self.out_features * self.words_per_row()
    }

    /// Weights of the matrix: `out · in`.
    pub fn weight_count(&self) -> usize {
        self.out_features * self.in_features
    }

    /// Inputs that share one scale within a row: the group size, or `in_features` unless grouped
    /// (a group larger than the row counts as the row).
    pub fn scale_span(&self) -> usize {
        match &self.scale {
            ScaleGranularity::Group { size } => self.in_features.min(*size),
            _ => self.in_features,
        }
    }

    /// Number of f32 scales.
    pub fn scale_count(&self) -> usize {
        self.scale.count(self.out_features, self.in_features)
    }

    /// Bytes of words and scales together.
    pub fn byte_count(&self) -> usize {
        4 * (self.word_count() + self.scale_count())
    }
}

/// Refuses a matrix without rows or columns, and one with more than `max` inputs.
pub(crate) fn check_sizes(
    out_features: usize,
    in_features: usize,
    max: usize,
) -> Result<(), LayoutError> {
    if out_features == 0 || in_features == 0 {
        return Err(LayoutError::Empty {
            out_features,
            in_features,
        });
    }
    if in_features > max {
        return Err(LayoutError::InFeatures { in_features, max });
    }
    Ok(())
}

#[derive(Deserialize)]
struct RawLayout {
    out_features: usize,
    in_features: usize,
    code: WeightCode,
    scale: ScaleGranularity,
}

impl TryFrom<RawLayout> for PackedLayout {
    type Error = LayoutError;

    fn try_from(raw: RawLayout) -> Result<Self, LayoutError> {
        Self::new(raw.out_features, raw.in_features, raw.code, raw.scale)
    }
}
