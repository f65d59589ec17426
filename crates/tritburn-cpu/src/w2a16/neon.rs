//! NEON: four vectors of four floats. Codes are evenly spaced, so a weight is
//! `code · step + first`.

use std::arch::aarch64::*;
use std::ops::Range;

use super::tile::{self, Lanes, W2A16Job};

/// Computes the outputs of `rows` and `tokens`.
///
/// # Safety
/// As [`tile::run`].
pub(super) unsafe fn run(job: &W2A16Job<'_>, rows: Range<usize>, tokens: Range<usize>) {
    // SAFETY: the caller's promise; NEON is part of AArch64.
    unsafe { tile::run::<Neon>(job, rows, tokens) }
}

struct Neon;

impl Lanes for Neon {
    type V = [float32x4_t; 4];
    /// First weight and step.
    type Table = [float32x4_t; 2];
    const ROWS: usize = 2;
    const MAX_TOKENS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> Self::V {
        // SAFETY: NEON is part of AArch64.
        unsafe { [vdupq_n_f32(0.0); 4] }
    }

    #[inline(always)]
    unsafe fn table(values: [f32; 4]) -> Self::Table {
        // SAFETY: NEON is part of AArch64.
        unsafe { [vdupq_n_f32(values[0]), vdupq_n_f32(values[1] - values[0])] }
    }

    #[inline(always)]
    unsafe fn load(x: *const f32) -> Self::V {
        // SAFETY: the caller promises 16 floats.
        unsafe {
            [
                vld1q_f32(x),
                vld1q_f32(x.add(4)),
                vld1q_f32(x.add(8)),
                vld1q_f32(x.add(12)),
            ]
        }
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

    #[inline(always)]
    unsafe fn add_product(mut acc: Self::V, a: Self::V, b: Self::V) -> Self::V {
        for i in 0..4 {
            // SAFETY: NEON is part of AArch64.
            acc[i] = unsafe { vfmaq_f32(acc[i], a[i], b[i]) };
        }
        acc
    }

    #[inline(always)]
    unsafe fn add_scaled(acc: Self::V, a: Self::V, scale: f32) -> Self::V {
        // SAFETY: NEON is part of AArch64.
        unsafe { Self::add_product(acc, a, [vdupq_n_f32(scale); 4]) }
    }

    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        // SAFETY: NEON is part of AArch64.
        unsafe { vaddvq_f32(vaddq_f32(vaddq_f32(v[0], v[1]), vaddq_f32(v[2], v[3]))) }
    }
}
