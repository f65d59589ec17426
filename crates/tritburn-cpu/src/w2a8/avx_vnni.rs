//! AVX-VNNI: the 256-bit `vpdpbusd` of processors without AVX-512.

use std::arch::x86_64::*;
use std::ops::Range;

use super::avx2;
use super::job::W2A8Job;
use super::tile::{self, Lanes};
use crate::planes::PLANE;

/// Computes the outputs of `rows` and `tokens`.
///
/// # Safety
/// As [`tile::run`].
#[target_feature(enable = "avx2,avxvnni")]
pub(super) unsafe fn run(job: &W2A8Job<'_>, rows: Range<usize>, tokens: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { tile::run::<AvxVnni>(job, rows, tokens) }
}

struct AvxVnni;

impl Lanes for AvxVnni {
    type Raw = __m256i;
    type Acc = __m256i;
    const BYTES: usize = 32;
    // 8 accumulators and 4 vectors of codes out of 16 registers.
    const MAX_TOKENS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> __m256i {
        // SAFETY: the caller has the set.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn load(words: *const u32) -> __m256i {
        // SAFETY: the caller promises 32 bytes.
        unsafe { avx2::load(words) }
    }

    #[inline(always)]
    unsafe fn load_part(words: *const u32, count: usize) -> __m256i {
        // SAFETY: the caller promises `count` words.
        unsafe { avx2::load_part(words, count) }
    }

    #[inline(always)]
    unsafe fn dot<const R: usize, const T: usize>(
        acc: &mut [[__m256i; T]; R],
        raw: &[__m256i; R],
        x: *const i8,
        stride: usize,
    ) {
        // SAFETY: the caller has the set and promises 32 bytes of four planes a token.
        unsafe {
            for r in 0..R {
                let codes = avx2::decode(raw[r]);
                for t in 0..T {
                    let x = x.add(t * stride);
                    for (i, &codes) in codes.iter().enumerate() {
                        let x = _mm256_load_si256(x.add(i * PLANE).cast());
                        acc[r][t] = _mm256_dpbusd_avx_epi32(acc[r][t], codes, x);
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn sum(acc: __m256i) -> i32 {
        // SAFETY: the caller has the set.
        unsafe { avx2::sum(acc) }
    }

    #[inline(always)]
    unsafe fn sum4(acc: [__m256i; 4]) -> [i32; 4] {
        // SAFETY: the caller has the set.
        unsafe { avx2::sum4(acc) }
    }

    #[inline(always)]
    unsafe fn quads(acc: [__m256i; 4], out: *mut [i32; 4]) {
        // SAFETY: the caller has the set and promises room for two quads.
        unsafe { _mm256_storeu_si256(out.cast(), avx2::quad(acc)) }
    }

    #[inline(always)]
    unsafe fn store(acc: __m256i, out: *mut i32) {
        // SAFETY: the caller promises room for 8 lanes.
        unsafe { _mm256_storeu_si256(out.cast(), acc) }
    }

    #[inline(always)]
    unsafe fn prefetch(address: *const u32) {
        // SAFETY: a hint, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
}
