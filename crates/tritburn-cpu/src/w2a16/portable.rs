//! Plain Rust, for any processor.

use std::ops::Range;

use super::tile::{self, Lanes, W2A16Job};
use crate::lm::vector::Portable;

/// Computes the outputs of `rows` and `tokens`.
///
/// # Safety
/// As [`tile::run`].
pub(super) unsafe fn run(job: &W2A16Job<'_>, rows: Range<usize>, tokens: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { tile::run::<Portable>(job, rows, tokens) }
}

impl Lanes for Portable {
    type Table = [f32; 4];
    const ROWS: usize = 2;
    const MAX_TOKENS: usize = 1;

    #[inline(always)]
    unsafe fn table(values: [f32; 4]) -> Self::Table {
        values
    }

    #[inline(always)]
    unsafe fn decode(word: u32, table: Self::Table) -> Self::V {
        // The codes are evenly spaced, and arithmetic vectorises where a lookup does not.
        let step = table[1] - table[0];
        let mut weights = [0.0; 16];
        for (i, weight) in weights.iter_mut().enumerate() {
            *weight = (word >> (2 * i) & 3) as i32 as f32 * step + table[0];
        }
        weights
    }
}
