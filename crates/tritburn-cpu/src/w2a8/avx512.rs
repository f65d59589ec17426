//! AVX-512 VNNI: `vpdpbusd` multiplies unsigned codes by signed activations, four to a lane.

use std::arch::x86_64::*;
use std::ops::Range;

use super::job::W2A8Job;
use super::tile::{self, Lanes};
use crate::planes::PLANE;

/// Computes the outputs of `rows` and `tokens`.
///
/// # Safety
/// As [`tile::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn run(job: &W2A8Job<'_>, rows: Range<usize>, tokens: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { tile::run::<Avx512>(job, rows, tokens) }
}

struct Avx512;

impl Lanes for Avx512 {
    type Raw = __m512i;
    type Acc = __m512i;
    const BYTES: usize = 64;
    // 16 accumulators, 4 vectors of codes as loaded and 4 as decoded leave room for operands.
    const MAX_TOKENS: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> __m512i {
        // SAFETY: the caller has the set.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn load(words: *const u32) -> __m512i {
        // SAFETY: the caller promises 64 bytes.
        unsafe { _mm512_loadu_si512(words.cast()) }
    }

    #[inline(always)]
    unsafe fn load_part(words: *const u32, count: usize) -> __m512i {
        // SAFETY: lanes masked off are not read.
        unsafe { _mm512_maskz_loadu_epi32((1u16 << count) - 1, words.cast()) }
    }

    #[inline(always)]
    unsafe fn dot<const R: usize, const T: usize>(
        acc: &mut [[__m512i; T]; R],
        raw: &[__m512i; R],
        x: *const i8,
        stride: usize,
    ) {
        // SAFETY: the caller has the set and promises four planes of 64 bytes a token.
        unsafe {
            plane::<R, T, 0>(acc, raw, x, stride);
            plane::<R, T, 2>(acc, raw, x.add(PLANE), stride);
            plane::<R, T, 4>(acc, raw, x.add(2 * PLANE), stride);
            plane::<R, T, 6>(acc, raw, x.add(3 * PLANE), stride);
        }
    }

    #[inline(always)]
    unsafe fn sum(acc: __m512i) -> i32 {
        // SAFETY: the caller has the set.
        unsafe { _mm512_reduce_add_epi32(acc) }
    }

    #[inline(always)]
    unsafe fn sum4(acc: [__m512i; 4]) -> [i32; 4] {
        // SAFETY: the caller has the set.
        unsafe {
            let quad = quad(acc);
            let half = _mm256_add_epi32(
                _mm512_castsi512_si256(quad),
                _mm512_extracti64x4_epi64::<1>(quad),
            );
            let quarter = _mm_add_epi32(
                _mm256_castsi256_si128(half),
                _mm256_extracti128_si256::<1>(half),
            );
            std::mem::transmute(quarter)
        }
    }

    #[inline(always)]
    unsafe fn quads(acc: [__m512i; 4], out: *mut [i32; 4]) {
        // SAFETY: the caller has the set and promises room for four quads.
        unsafe { _mm512_storeu_si512(out.cast(), quad(acc)) }
    }

    #[inline(always)]
    unsafe fn store(acc: __m512i, out: *mut i32) {
        // SAFETY: the caller promises room for 16 lanes.
        unsafe { _mm512_storeu_si512(out.cast(), acc) }
    }

    #[inline(always)]
    unsafe fn prefetch(address: *const u32) {
        // SAFETY: a hint, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
}

#[inline(always)]
unsafe fn plane<const R: usize, const T: usize, const SHIFT: u32>(
    acc: &mut [[__m512i; T]; R],
    raw: &[__m512i; R],
    x: *const i8,
    stride: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mask = _mm512_set1_epi8(3);
        let mut codes = *raw;
        for codes in &mut codes {
            *codes = _mm512_and_si512(_mm512_srli_epi16::<SHIFT>(*codes), mask);
        }
        for t in 0..T {
            let x = _mm512_load_si512(x.add(t * stride).cast());
            for r in 0..R {
                acc[r][t] = _mm512_dpbusd_epi32(acc[r][t], codes[r], x);
            }
        }
    }
}

/// In each quarter, the sums of that quarter of the four vectors: two rounds of interleaved adds.
#[inline(always)]
unsafe fn quad(acc: [__m512i; 4]) -> __m512i {
    // SAFETY: the caller has the set.
    unsafe {
        let low = _mm512_add_epi32(
            _mm512_unpacklo_epi32(acc[0], acc[1]),
            _mm512_unpackhi_epi32(acc[0], acc[1]),
        );
        let high = _mm512_add_epi32(
            _mm512_unpacklo_epi32(acc[2], acc[3]),
            _mm512_unpackhi_epi32(acc[2], acc[3]),
        );
        _mm512_add_epi32(
            _mm512_unpacklo_epi64(low, high),
            _mm512_unpackhi_epi64(low, high),
        )
    }
}
