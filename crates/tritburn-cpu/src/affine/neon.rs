//! NEON: four vectors of four floats.

use std::arch::aarch64::*;
use std::ops::Range;

use super::tile::{self, AffineJob, Lanes};
use crate::lm::vector::{self, Neon};

/// Computes the outputs of `rows` and `tokens`.
///
/// # Safety
/// As [`tile::run`].
pub(super) unsafe fn run(job: &AffineJob<'_>, rows: Range<usize>, tokens: Range<usize>) {
    // SAFETY: the caller's promise; NEON is part of AArch64.
    unsafe { tile::run::<Neon>(job, rows, tokens) }
}

impl Lanes for Neon {
    /// Scale and zero point.
    type Group = [f32; 2];
    const ROWS: usize = 2;
    const MAX_TOKENS: usize = 2;

    #[inline(always)]
    unsafe fn group<const BITS: usize>(scale: f32, zero: f32) -> [f32; 2] {
        [scale, zero]
    }

    #[inline(always)]
    unsafe fn weights<const BITS: usize>(codes: *const u8, [scale, zero]: [f32; 2]) -> Self::V {
        // SAFETY: NEON is part of AArch64, and the caller promises the codes.
        unsafe {
            let words = tile::eights::<BITS>(codes);
            let (scale, zero) = (vdupq_n_f32(scale), vdupq_n_f32(zero));
            let mask = vdupq_n_u32((1 << BITS) - 1);
            let mut weights = [zero; 4];
            for (i, weights) in weights.iter_mut().enumerate() {
                let offset = if i >= 2 { tile::offset(BITS) } else { 0 };
                let first = offset + (BITS * 4 * (i % 2)) as i32;
                // A shift to the left by a negative number is one to the right.
                let shifts: [i32; 4] = std::array::from_fn(|j| -(first + (BITS * j) as i32));
                let codes = vshlq_u32(vdupq_n_u32(words[i / 2]), vld1q_s32(shifts.as_ptr()));
                let codes = vcvtq_f32_u32(vandq_u32(codes, mask));
                *weights = vmulq_f32(vsubq_f32(codes, zero), scale);
            }
            weights
        }
    }

    #[inline(always)]
    unsafe fn kept(codes: u64, mask: u32, group: [f32; 2]) -> Self::V {
        let weights = tile::spread(codes, mask, group);
        // SAFETY: 16 floats.
        unsafe { <Self as vector::Lanes>::load(weights.as_ptr()) }
    }
}
