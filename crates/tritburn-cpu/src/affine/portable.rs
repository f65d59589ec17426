//! Plain Rust, for any processor.

use std::ops::Range;

use super::tile::{self, AffineJob, Lanes};
use crate::lm::vector::Portable;

/// Computes the outputs of `rows` and `tokens`.
///
/// # Safety
/// As [`tile::run`].
pub(super) unsafe fn run(job: &AffineJob<'_>, rows: Range<usize>, tokens: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { tile::run::<Portable>(job, rows, tokens) }
}

impl Lanes for Portable {
    /// Scale and zero point.
    type Group = [f32; 2];
    const ROWS: usize = 2;
    const MAX_TOKENS: usize = 1;

    #[inline(always)]
    unsafe fn group<const BITS: usize>(scale: f32, zero: f32) -> [f32; 2] {
        [scale, zero]
    }

    #[inline(always)]
    unsafe fn weights<const BITS: usize>(codes: *const u8, [scale, zero]: [f32; 2]) -> Self::V {
        // SAFETY: the caller promises the codes.
        let words = unsafe { tile::eights::<BITS>(codes) };
        let mut weights = [0.0; 16];
        for (half, weights) in weights.chunks_mut(8).enumerate() {
            let word = words[half] >> if half == 1 { tile::offset(BITS) } else { 0 };
            for (j, weight) in weights.iter_mut().enumerate() {
                let code = word >> (BITS * j) & ((1 << BITS) - 1);
                *weight = (code as i32 as f32 - zero) * scale;
            }
        }
        weights
    }

    #[inline(always)]
    unsafe fn kept(codes: u64, mask: u32, group: [f32; 2]) -> Self::V {
        tile::spread(codes, mask, group)
    }
}
