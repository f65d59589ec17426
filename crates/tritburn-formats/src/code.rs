//! What a stored 2-bit field means.

use serde::{Deserialize, Serialize};

use crate::layout::MAX_IN_FEATURES;

/// The code table of a packed matrix.
///
/// Kernels multiply the integer [`value`](Self::value) of a code; the real weight is
/// `value · unit · scale`, so every product stays exact in i32 until the final rescale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WeightCode {
    /// `{-1, 0, +1}` stored as `w + 1`; code 3 is invalid.
    #[default]
    Ternary,
    /// `{-1.5, -0.5, +0.5, +1.5}` stored as 0, 1, 2, 3: `weight = (code - 1.5) · scale`.
    Int2,
}

impl WeightCode {
    /// The code written past the end of a row: a zero weight for [`Ternary`](Self::Ternary).
    /// Int2 has no zero; padded inputs are zero, so its padding never counts.
    pub const PADDING: u32 = 1;

    /// Number of valid codes, counted from 0.
    pub const fn levels(self) -> u32 {
        match self {
            Self::Ternary => 3,
            Self::Int2 => 4,
        }
    }

    /// Largest `in_features` whose i32 sums of products with int8 activations stay exact: the
    /// largest code (biased) or value times 128 times this fits an i32. 2²³ - 1 for ternary,
    /// `(2³¹ - 1) / (3 · 128)` for int2.
    pub const fn max_in_features(self) -> usize {
        match self {
            Self::Ternary => MAX_IN_FEATURES,
            Self::Int2 => i32::MAX as usize / (3 * 128),
        }
    }

    /// Integer value of a code: `code - 1` for ternary, `2·code - 3` for int2.
    pub const fn value(self, code: u32) -> i32 {
        self.multiplier() * code as i32 - self.offset()
    }

    /// `m` in `value = m·code - offset`: 1 for ternary, 2 for int2.
    pub const fn multiplier(self) -> i32 {
        match self {
            Self::Ternary => 1,
            Self::Int2 => 2,
        }
    }

    /// `offset` in `value = m·code - offset`: 1 for ternary, 3 for int2.
    pub const fn offset(self) -> i32 {
        match self {
            Self::Ternary => 1,
            Self::Int2 => 3,
        }
    }

    /// Real weight of one integer step at scale 1: 1 for ternary, 0.5 for int2.
    pub const fn unit(self) -> f32 {
        match self {
            Self::Ternary => 1.0,
            Self::Int2 => 0.5,
        }
    }
}
