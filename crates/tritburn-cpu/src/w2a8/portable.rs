//! Plain Rust, for any processor. The reference for the other sets.

use std::ops::Range;

use super::job::W2A8Job;
use super::tile::{self, Lanes};
use crate::planes::PLANE;

/// Computes the outputs of `rows` and `tokens`.
///
/// # Safety
/// As [`tile::run`].
pub(super) unsafe fn run(job: &W2A8Job<'_>, rows: Range<usize>, tokens: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { tile::run::<Portable>(job, rows, tokens) }
}

struct Portable;

impl Lanes for Portable {
    type Raw = [u32; 16];
    type Acc = [i32; 16];
    const BYTES: usize = 64;
    const MAX_TOKENS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        [0; 16]
    }

    #[inline(always)]
    unsafe fn load(words: *const u32) -> Self::Raw {
        // SAFETY: the caller promises 16 words.
        unsafe { words.cast::<Self::Raw>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_part(words: *const u32, count: usize) -> Self::Raw {
        let mut raw = [0; 16];
        // SAFETY: the caller promises `count` words.
        raw[..count].copy_from_slice(unsafe { std::slice::from_raw_parts(words, count) });
        raw
    }

    #[inline(always)]
    unsafe fn dot<const R: usize, const T: usize>(
        acc: &mut [[Self::Acc; T]; R],
        raw: &[Self::Raw; R],
        x: *const i8,
        stride: usize,
    ) {
        for t in 0..T {
            for i in 0..4 {
                // SAFETY: the caller promises four planes of 64 bytes a token.
                let plane = unsafe { x.add(t * stride + i * PLANE).cast::<[[u8; 4]; 16]>().read() };
                for r in 0..R {
                    for (acc, (word, x)) in acc[r][t].iter_mut().zip(raw[r].iter().zip(plane)) {
                        for (byte, x) in x.into_iter().enumerate() {
                            let code = (word >> (8 * byte + 2 * i)) as i32 & 3;
                            *acc = acc.wrapping_add(code * i32::from(x as i8));
                        }
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn sum(acc: Self::Acc) -> i32 {
        acc.into_iter().fold(0, i32::wrapping_add)
    }

    #[inline(always)]
    unsafe fn sum4(acc: [Self::Acc; 4]) -> [i32; 4] {
        // SAFETY: plain Rust.
        acc.map(|acc| unsafe { Self::sum(acc) })
    }

    #[inline(always)]
    unsafe fn quads(acc: [Self::Acc; 4], out: *mut [i32; 4]) {
        for q in 0..4 {
            let sum = |acc: Self::Acc| {
                acc[4 * q..4 * q + 4]
                    .iter()
                    .fold(0, |a: i32, &b| a.wrapping_add(b))
            };
            // SAFETY: the caller promises room for four quads.
            unsafe { out.add(q).write(acc.map(sum)) }
        }
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, out: *mut i32) {
        // SAFETY: the caller promises room for 16 lanes.
        unsafe { out.cast::<Self::Acc>().write_unaligned(acc) }
    }
}
