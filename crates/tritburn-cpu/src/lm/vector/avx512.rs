//! AVX-512: one register.

use std::arch::x86_64::*;

use super::{Lanes, Work};

/// Runs `work` in code compiled for AVX-512.
///
/// # Safety
/// The set is available, and whatever the work asks for.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn run<W: Work>(work: W) {
    // SAFETY: the caller's promise.
    unsafe { work.run::<Avx512>() }
}

pub(crate) struct Avx512;

impl Lanes for Avx512 {
    type V = __m512;
    const WIDE: bool = true;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        // SAFETY: the caller has the set.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(at: *const f32) -> __m512 {
        // SAFETY: the caller promises 16 floats.
        unsafe { _mm512_loadu_ps(at) }
    }

    #[inline(always)]
    unsafe fn load_f16(at: *const u16) -> __m512 {
        // SAFETY: the caller promises 16 halves.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(at.cast())) }
    }

    #[inline(always)]
    unsafe fn load_bf16(at: *const u16) -> __m512 {
        // SAFETY: the caller promises 16 brain floats.
        unsafe {
            let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(at.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
        }
    }

    #[inline(always)]
    unsafe fn store(v: __m512, at: *mut f32) {
        // SAFETY: the caller promises 16 floats.
        unsafe { _mm512_storeu_ps(at, v) }
    }

    #[inline(always)]
    unsafe fn store_f16(v: __m512, at: *mut u16) {
        // SAFETY: the caller promises 16 halves.
        unsafe {
            let halves = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v);
            _mm256_storeu_si256(at.cast(), halves)
        }
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the caller has the set.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the caller has the set.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the caller has the set.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the caller has the set.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the caller has the set.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn keep(limit: __m512, at: f32, value: __m512, other: __m512) -> __m512 {
        // SAFETY: the caller has the set.
        unsafe {
            let mask = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(limit, _mm512_set1_ps(at));
            _mm512_mask_blend_ps(mask, other, value)
        }
    }

    #[inline(always)]
    unsafe fn power(biased: __m512) -> __m512 {
        // SAFETY: the caller has the set.
        unsafe {
            let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(biased));
            let one = _mm512_set1_epi32(1.0f32.to_bits() as i32);
            _mm512_castsi512_ps(_mm512_add_epi32(exponent, one))
        }
    }

    #[inline(always)]
    unsafe fn sum(v: __m512) -> f32 {
        // SAFETY: the caller has the set.
        unsafe { _mm512_reduce_add_ps(v) }
    }

    #[inline(always)]
    unsafe fn sum4(v: [__m512; 4]) -> [f32; 4] {
        // SAFETY: the caller has the set; a vector is four floats.
        unsafe {
            // Two rounds of interleaved adds leave each quarter with that quarter's four sums.
            let low = _mm512_add_ps(
                _mm512_unpacklo_ps(v[0], v[1]),
                _mm512_unpackhi_ps(v[0], v[1]),
            );
            let high = _mm512_add_ps(
                _mm512_unpacklo_ps(v[2], v[3]),
                _mm512_unpackhi_ps(v[2], v[3]),
            );
            let quads = _mm512_add_ps(
                _mm512_shuffle_ps::<0x44>(low, high),
                _mm512_shuffle_ps::<0xee>(low, high),
            );
            let half = _mm512_add_ps(quads, _mm512_shuffle_f32x4::<0x4e>(quads, quads));
            let four = _mm512_add_ps(half, _mm512_shuffle_f32x4::<0xb1>(half, half));
            std::mem::transmute(_mm512_castps512_ps128(four))
        }
    }

    #[inline(always)]
    unsafe fn prefetch(address: *const u8) {
        // SAFETY: a hint, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
}
