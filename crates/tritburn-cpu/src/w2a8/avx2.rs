//! AVX2: `vpmaddubsw` multiplies unsigned codes by signed activations into i16 pairs.

use std::arch::x86_64::*;
use std::ops::Range;

use super::job::W2A8Job;
use super::tile::{self, Lanes};
use crate::planes::PLANE;

/// Computes the outputs of `rows` and `tokens`.
///
/// # Safety
/// As [`tile::run`].
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run(job: &W2A8Job<'_>, rows: Range<usize>, tokens: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { tile::run::<Avx2>(job, rows, tokens) }
}

struct Avx2;

impl Lanes for Avx2 {
    type Raw = __m256i;
    type Acc = __m256i;
    const BYTES: usize = 32;
    // 8 accumulators, 4 decoded vectors and the i16 sum out of 16 registers.
    const MAX_TOKENS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> __m256i {
        // SAFETY: the caller has the set.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn load(words: *const u32) -> __m256i {
        // SAFETY: the caller promises 32 bytes.
        unsafe { load(words) }
    }

    #[inline(always)]
    unsafe fn load_part(words: *const u32, count: usize) -> __m256i {
        // SAFETY: the caller promises `count` words.
        unsafe { load_part(words, count) }
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
            let ones = _mm256_set1_epi16(1);
            for r in 0..R {
                let codes = decode(raw[r]);
                for t in 0..T {
                    let x = x.add(t * stride);
                    // One product is at most 3·128 = 384 in size, a pair 768 and the pairs of
                    // four planes 3072: neither the saturating multiply nor the i16 sum can
                    // leave i16.
                    let mut pairs = _mm256_setzero_si256();
                    for (i, &codes) in codes.iter().enumerate() {
                        let x = _mm256_load_si256(x.add(i * PLANE).cast());
                        pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(codes, x));
                    }
                    acc[r][t] = _mm256_add_epi32(acc[r][t], _mm256_madd_epi16(pairs, ones));
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn sum(acc: __m256i) -> i32 {
        // SAFETY: the caller has the set.
        unsafe { sum(acc) }
    }

    #[inline(always)]
    unsafe fn sum4(acc: [__m256i; 4]) -> [i32; 4] {
        // SAFETY: the caller has the set.
        unsafe { sum4(acc) }
    }

    #[inline(always)]
    unsafe fn quads(acc: [__m256i; 4], out: *mut [i32; 4]) {
        // SAFETY: the caller has the set and promises room for two quads.
        unsafe { _mm256_storeu_si256(out.cast(), quad(acc)) }
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

/// Reads 32 bytes.
///
/// # Safety
/// Needs AVX2 and 32 readable bytes.
#[inline(always)]
pub(super) unsafe fn load(words: *const u32) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { _mm256_loadu_si256(words.cast()) }
}

/// Reads `count < 8` words, zero beyond.
///
/// # Safety
/// Needs AVX2 and `count` readable words.
#[inline(always)]
pub(super) unsafe fn load_part(words: *const u32, count: usize) -> __m256i {
    // SAFETY: lanes masked off are not read.
    unsafe {
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), lanes);
        _mm256_maskload_epi32(words.cast(), mask)
    }
}

/// The four planes of codes of a vector.
///
/// # Safety
/// Needs AVX2.
#[inline(always)]
pub(super) unsafe fn decode(raw: __m256i) -> [__m256i; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let mask = _mm256_set1_epi8(3);
        [
            _mm256_and_si256(raw, mask),
            _mm256_and_si256(_mm256_srli_epi16::<2>(raw), mask),
            _mm256_and_si256(_mm256_srli_epi16::<4>(raw), mask),
            _mm256_and_si256(_mm256_srli_epi16::<6>(raw), mask),
        ]
    }
}

/// Sum of the lanes, wrapping.
///
/// # Safety
/// Needs AVX2.
#[inline(always)]
pub(super) unsafe fn sum(acc: __m256i) -> i32 {
    // SAFETY: the caller's promise.
    unsafe {
        let half = _mm_add_epi32(
            _mm256_castsi256_si128(acc),
            _mm256_extracti128_si256::<1>(acc),
        );
        let pair = _mm_add_epi32(half, _mm_shuffle_epi32::<0b01_00_11_10>(half));
        let one = _mm_add_epi32(pair, _mm_shuffle_epi32::<0b10_11_00_01>(pair));
        _mm_cvtsi128_si32(one)
    }
}

/// In each half, the sums of that half of the four vectors: two rounds of interleaved adds.
///
/// # Safety
/// Needs AVX2.
#[inline(always)]
pub(super) unsafe fn quad(acc: [__m256i; 4]) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let low = _mm256_add_epi32(
            _mm256_unpacklo_epi32(acc[0], acc[1]),
            _mm256_unpackhi_epi32(acc[0], acc[1]),
        );
        let high = _mm256_add_epi32(
            _mm256_unpacklo_epi32(acc[2], acc[3]),
            _mm256_unpackhi_epi32(acc[2], acc[3]),
        );
        _mm256_add_epi32(
            _mm256_unpacklo_epi64(low, high),
            _mm256_unpackhi_epi64(low, high),
        )
    }
}

/// Sums of the lanes of four vectors, wrapping.
///
/// # Safety
/// Needs AVX2.
#[inline(always)]
pub(super) unsafe fn sum4(acc: [__m256i; 4]) -> [i32; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let quad = quad(acc);
        let sums = _mm_add_epi32(
            _mm256_castsi256_si128(quad),
            _mm256_extracti128_si256::<1>(quad),
        );
        std::mem::transmute(sums)
    }
}
