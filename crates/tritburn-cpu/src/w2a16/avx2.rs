//! AVX2 and FMA: two vectors of eight floats.

use std::arch::x86_64::*;
use std::ops::Range;

use super::tile::{self, Lanes, W2A16Job};

/// Computes the outputs of `rows` and `tokens`.
///
/// # Safety
/// As [`tile::run`].
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run(job: &W2A16Job<'_>, rows: Range<usize>, tokens: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { tile::run::<Avx2>(job, rows, tokens) }
}

struct Avx2;

impl Lanes for Avx2 {
    type V = [__m256; 2];
    type Table = __m256;
    const ROWS: usize = 2;
    const MAX_TOKENS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> Self::V {
        // SAFETY: the caller has the set.
        unsafe { [_mm256_setzero_ps(); 2] }
    }

    #[inline(always)]
    unsafe fn table(values: [f32; 4]) -> __m256 {
        // SAFETY: the caller has the set.
        unsafe { _mm256_broadcast_ps(&_mm_loadu_ps(values.as_ptr())) }
    }

    #[inline(always)]
    unsafe fn load(x: *const f32) -> Self::V {
        // SAFETY: the caller promises 16 floats.
        unsafe { [_mm256_loadu_ps(x), _mm256_loadu_ps(x.add(8))] }
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

    #[inline(always)]
    unsafe fn add_product(acc: Self::V, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the caller has the set.
        unsafe {
            [
                _mm256_fmadd_ps(a[0], b[0], acc[0]),
                _mm256_fmadd_ps(a[1], b[1], acc[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn add_scaled(acc: Self::V, a: Self::V, scale: f32) -> Self::V {
        // SAFETY: the caller has the set.
        unsafe { Self::add_product(acc, a, [_mm256_set1_ps(scale); 2]) }
    }

    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        // SAFETY: the caller has the set.
        unsafe {
            let eight = _mm256_add_ps(v[0], v[1]);
            let four = _mm_add_ps(
                _mm256_castps256_ps128(eight),
                _mm256_extractf128_ps::<1>(eight),
            );
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    unsafe fn prefetch(address: *const u32) {
        // SAFETY: a hint, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
}
