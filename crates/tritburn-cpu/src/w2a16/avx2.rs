//! AVX2 and FMA: two vectors of eight floats.

use std::arch::x86_64::*;
use std::ops::Range;

use super::tile::{self, Lanes, W2A16Job};
use crate::lm::vector::Avx2;

/// Computes the outputs of `rows` and `tokens`.
///
/// # Safety
/// As [`tile::run`].
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run(job: &W2A16Job<'_>, rows: Range<usize>, tokens: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { tile::run::<Avx2>(job, rows, tokens) }
}

impl Lanes for Avx2 {
    type Table = __m256;
    const ROWS: usize = 2;
    const MAX_TOKENS: usize = 2;

    #[inline(always)]
    unsafe fn table(values: [f32; 4]) -> __m256 {
        // SAFETY: the caller has the set.
        unsafe { _mm256_broadcast_ps(&_mm_loadu_ps(values.as_ptr())) }
    }

    #[inline(always)]
    unsafe fn decode(word: u32, table: __m256) -> Self::V {
        // SAFETY: the caller has the set.
        unsafe {
            let word = _mm256_set1_epi32(word as i32);
            let low = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
            let high = _mm256_setr_epi32(16, 18, 20, 22, 24, 26, 28, 30);
            // The lookup reads two bits of each lane, so nothing needs masking off.
            [
                _mm256_permutevar_ps(table, _mm256_srlv_epi32(word, low)),
                _mm256_permutevar_ps(table, _mm256_srlv_epi32(word, high)),
            ]
        }
    }
}
