//! AVX-512: the 16 codes of a word become 16 floats by a shift per lane and a lookup.

use std::arch::x86_64::*;
use std::ops::Range;

use super::tile::{self, Lanes, W2A16Job};
use crate::lm::vector::Avx512;

/// Computes the outputs of `rows` and `tokens`.
///
/// # Safety
/// As [`tile::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn run(job: &W2A16Job<'_>, rows: Range<usize>, tokens: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { tile::run::<Avx512>(job, rows, tokens) }
}

impl Lanes for Avx512 {
    type Table = __m512;
    const ROWS: usize = 4;
    const MAX_TOKENS: usize = 4;

    #[inline(always)]
    unsafe fn table(values: [f32; 4]) -> __m512 {
        // SAFETY: the caller has the set.
        unsafe { _mm512_broadcast_f32x4(_mm_loadu_ps(values.as_ptr())) }
    }

    #[inline(always)]
    unsafe fn decode(word: u32, table: __m512) -> __m512 {
        // SAFETY: the caller has the set.
        unsafe {
            let shifts =
                _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            // The lookup reads two bits of each lane, so nothing needs masking off.
            let codes = _mm512_srlv_epi32(_mm512_set1_epi32(word as i32), shifts);
            _mm512_permutevar_ps(table, codes)
        }
    }
}
