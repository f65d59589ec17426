//! NEON: `sdot` where the processor has it, widening multiplies elsewhere.

use std::arch::aarch64::*;
use std::arch::asm;
use std::ops::Range;

use super::job::W2A8Job;
use super::tile::{self, Lanes};
use crate::planes::PLANE;

/// Computes the outputs of `rows` and `tokens` with widening multiplies.
///
/// # Safety
/// As [`tile::run`].
pub(super) unsafe fn run(job: &W2A8Job<'_>, rows: Range<usize>, tokens: Range<usize>) {
    // SAFETY: the caller's promise; NEON is part of AArch64.
    unsafe { tile::run::<Neon<Widening>>(job, rows, tokens) }
}

/// Computes the outputs of `rows` and `tokens` with `sdot`.
///
/// # Safety
/// As [`tile::run`].
#[target_feature(enable = "dotprod")]
pub(super) unsafe fn run_dot(job: &W2A8Job<'_>, rows: Range<usize>, tokens: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { tile::run::<Neon<Dot>>(job, rows, tokens) }
}

/// How the four planes of one vector of codes are multiplied and summed.
trait Multiply {
    /// `acc + Σ_i codes_i · x_i`, each lane of the sum over its own word.
    ///
    /// # Safety
    /// Needs the instruction set.
    unsafe fn dot(acc: int32x4_t, codes: [int8x16_t; 4], x: [int8x16_t; 4]) -> int32x4_t;
}

struct Widening;

impl Multiply for Widening {
    #[inline(always)]
    unsafe fn dot(acc: int32x4_t, codes: [int8x16_t; 4], x: [int8x16_t; 4]) -> int32x4_t {
        // SAFETY: NEON is part of AArch64.
        unsafe {
            // A product is at most 3·128 = 384 in size: four planes 1536, a pair of lanes 3072.
            let mut low = vmull_s8(vget_low_s8(codes[0]), vget_low_s8(x[0]));
            let mut high = vmull_high_s8(codes[0], x[0]);
            for i in 1..4 {
                low = vmlal_s8(low, vget_low_s8(codes[i]), vget_low_s8(x[i]));
                high = vmlal_high_s8(high, codes[i], x[i]);
            }
            vpadalq_s16(acc, vpaddq_s16(low, high))
        }
    }
}

struct Dot;

impl Multiply for Dot {
    #[inline(always)]
    unsafe fn dot(mut acc: int32x4_t, codes: [int8x16_t; 4], x: [int8x16_t; 4]) -> int32x4_t {
        for i in 0..4 {
            // SAFETY: the caller has `sdot`, whose intrinsic is not stable yet.
            unsafe {
                asm!(
                    ".arch_extension dotprod",
                    "sdot {acc:v}.4s, {codes:v}.16b, {x:v}.16b",
                    acc = inout(vreg) acc,
                    codes = in(vreg) codes[i],
                    x = in(vreg) x[i],
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
        }
        acc
    }
}

struct Neon<M>(M);

impl<M: Multiply> Lanes for Neon<M> {
    type Raw = uint8x16_t;
    type Acc = int32x4_t;
    const BYTES: usize = 16;
    // 8 accumulators, 4 vectors of codes and 4 of activations out of 32 registers.
    const MAX_TOKENS: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> int32x4_t {
        // SAFETY: NEON is part of AArch64.
        unsafe { vdupq_n_s32(0) }
    }

    #[inline(always)]
    unsafe fn load(words: *const u32) -> uint8x16_t {
        // SAFETY: the caller promises 16 bytes.
        unsafe { vld1q_u8(words.cast()) }
    }

    #[inline(always)]
    unsafe fn load_part(words: *const u32, count: usize) -> uint8x16_t {
        let mut part = [0u32; 4];
        // SAFETY: the caller promises `count` words; the copy has four.
        unsafe {
            part[..count].copy_from_slice(std::slice::from_raw_parts(words, count));
            vld1q_u8(part.as_ptr().cast())
        }
    }

    #[inline(always)]
    unsafe fn dot<const R: usize, const T: usize>(
        acc: &mut [[int32x4_t; T]; R],
        raw: &[uint8x16_t; R],
        x: *const i8,
        stride: usize,
    ) {
        // SAFETY: the caller promises 16 bytes of four planes a token.
        unsafe {
            for r in 0..R {
                let codes = decode(raw[r]);
                for t in 0..T {
                    let x = x.add(t * stride);
                    let x = [
                        vld1q_s8(x),
                        vld1q_s8(x.add(PLANE)),
                        vld1q_s8(x.add(2 * PLANE)),
                        vld1q_s8(x.add(3 * PLANE)),
                    ];
                    acc[r][t] = M::dot(acc[r][t], codes, x);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn sum(acc: int32x4_t) -> i32 {
        // SAFETY: NEON is part of AArch64.
        unsafe { vaddvq_s32(acc) }
    }

    #[inline(always)]
    unsafe fn sum4(acc: [int32x4_t; 4]) -> [i32; 4] {
        // SAFETY: NEON is part of AArch64; a vector is four i32.
        unsafe {
            let sums = vpaddq_s32(vpaddq_s32(acc[0], acc[1]), vpaddq_s32(acc[2], acc[3]));
            std::mem::transmute(sums)
        }
    }

    #[inline(always)]
    unsafe fn quads(acc: [int32x4_t; 4], out: *mut [i32; 4]) {
        // SAFETY: the caller promises room for the one quad of a vector.
        unsafe { out.write(Self::sum4(acc)) }
    }

    #[inline(always)]
    unsafe fn store(acc: int32x4_t, out: *mut i32) {
        // SAFETY: the caller promises room for 4 lanes.
        unsafe { vst1q_s32(out, acc) }
    }
}

/// The four planes of codes of a vector.
#[inline(always)]
fn decode(raw: uint8x16_t) -> [int8x16_t; 4] {
    // SAFETY: NEON is part of AArch64.
    unsafe {
        let mask = vdupq_n_u8(3);
        [
            vreinterpretq_s8_u8(vandq_u8(raw, mask)),
            vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8::<2>(raw), mask)),
            vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8::<4>(raw), mask)),
            vreinterpretq_s8_u8(vshrq_n_u8::<6>(raw)),
        ]
    }
}
