//! NEON: four vectors of four floats. Codes are evenly spaced, so a weight is
//! `code · step + first`.

use std::arch::aarch64::*;
use std::ops::Range;

use super::tile::{self, Lanes, W2A16Job};
use crate::lm::vector::Neon;

/// Computes the outputs of `rows` and `tokens`.
///
/// # Safety
/// As [`tile::run`].
pub(super) unsafe fn run(job: &W2A16Job<'_>, rows: Range<usize>, tokens: Range<usize>) {
    // SAFETY: the caller's promise; NEON is part of AArch64.
    unsafe { tile::run::<Neon>(job, rows, tokens) }
}

impl Lanes for Neon {
    /// First weight and step.
    type Table = [float32x4_t; 2];
    const ROWS: usize = 2;
    const MAX_TOKENS: usize = 2;

    #[inline(always)]
    unsafe fn table(values: [f32; 4]) -> Self::Table {
        // SAFETY: NEON is part of AArch64.
        unsafe { [vdupq_n_f32(values[0]), vdupq_n_f32(values[1] - values[0])] }
    }

    #[inline(always)]
    unsafe fn decode(word: u32, [first, step]: Self::Table) -> Self::V {
        const SHIFTS: [i32; 16] = [
            0, -2, -4, -6, -8, -10, -12, -14, -16, -18, -20, -22, -24, -26, -28, -30,
        ];
        // SAFETY: NEON is part of AArch64; `SHIFTS` has four vectors.
        unsafe {
            let word = vdupq_n_u32(word);
            let mask = vdupq_n_u32(3);
            let mut weights = [first; 4];
            for (i, weight) in weights.iter_mut().enumerate() {
                let shifts = vld1q_s32(SHIFTS.as_ptr().add(4 * i));
                let codes = vandq_u32(vshlq_u32(word, shifts), mask);
                *weight = vfmaq_f32(first, vcvtq_f32_u32(codes), step);
            }
            weights
        }
    }
}
