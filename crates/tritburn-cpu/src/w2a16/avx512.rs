//! AVX-512: the 16 codes of a word become 16 floats by a shift per lane and a lookup.

use std::arch::x86_64::*;
use std::ops::Range;

use super::tile::{self, Lanes, W2A16Job};

/// Computes the outputs of `rows` and `tokens`.
///
/// # Safety
/// As [`tile::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn run(job: &W2A16Job<'_>, rows: Range<usize>, tokens: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { tile::run::<Avx512>(job, rows, tokens) }
}

struct Avx512;

impl Lanes for Avx512 {
    type V = __m512;
    type Table = __m512;
    const ROWS: usize = 4;
    const MAX_TOKENS: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: the caller has the set.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn table(values: [f32; 4]) -> __m512 {
        // SAFETY: the caller has the set.
        unsafe { _mm512_broadcast_f32x4(_mm_loadu_ps(values.as_ptr())) }
    }

    #[inline(always)]
    unsafe fn load(x: *const f32) -> __m512 {
        // SAFETY: the caller promises 16 floats.
        unsafe { _mm512_loadu_ps(x) }
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

    #[inline(always)]
    unsafe fn add_product(acc: __m512, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the caller has the set.
        unsafe { _mm512_fmadd_ps(a, b, acc) }
    }

    #[inline(always)]
    unsafe fn add_scaled(acc: __m512, a: __m512, scale: f32) -> __m512 {
        // SAFETY: the caller has the set.
        unsafe { _mm512_fmadd_ps(a, _mm512_set1_ps(scale), acc) }
    }

    #[inline(always)]
    unsafe fn sum(v: __m512) -> f32 {
        // SAFETY: the caller has the set.
        unsafe { _mm512_reduce_add_ps(v) }
    }

    #[inline(always)]
    unsafe fn prefetch(address: *const u32) {
        // SAFETY: a hint, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
}
