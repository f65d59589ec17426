//! AVX-512: a table of the weights of all codes of a group, looked up by 16 lanes at once.

use std::arch::x86_64::*;
use std::mem::transmute;
use std::ops::Range;

use super::tile::{self, AffineJob, Lanes};
use crate::lm::vector::Avx512;

/// Computes the outputs of `rows` and `tokens`.
///
/// # Safety
/// As [`tile::run`]; dense activations alternate.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,popcnt")]
pub(super) unsafe fn run(job: &AffineJob<'_>, rows: Range<usize>, tokens: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { tile::run::<Avx512>(job, rows, tokens) }
}

/// Constants of the codes of a width.
struct Tables<const BITS: usize>;

impl<const BITS: usize> Tables<BITS> {
    /// What four bits from the first bit of a code on mean.
    const CODES: [f32; 16] = {
        let mut codes = [0.0; 16];
        let mut i = 0;
        while i < 16 {
            codes[i] = (i % (1 << BITS)) as f32;
            i += 1;
        }
        codes
    };

    /// Where the code of each lane begins in its word.
    const SHIFTS: [i32; 16] = {
        let mut shifts = [0; 16];
        let mut lane = 0;
        while lane < 16 {
            let offset = if lane % 2 == 1 { tile::offset(BITS) } else { 0 };
            shifts[lane] = offset + (BITS * (lane / 2)) as i32;
            lane += 1;
        }
        shifts
    };
}

/// Lanes of codes 8 to 15 of an alternating step.
const ODD: __mmask16 = 0xaaaa;

impl Lanes for Avx512 {
    /// Entry `i` is the weight of code `i mod 2^BITS`: the lookup takes four bits of a lane, so
    /// that nothing needs masking off.
    type Group = __m512;
    const ROWS: usize = 4;
    const MAX_TOKENS: usize = 4;

    #[inline(always)]
    unsafe fn group<const BITS: usize>(scale: f32, zero: f32) -> __m512 {
        // SAFETY: the caller has the set.
        unsafe {
            let codes = transmute::<[f32; 16], __m512>(Tables::<BITS>::CODES);
            _mm512_mul_ps(
                _mm512_sub_ps(codes, _mm512_set1_ps(zero)),
                _mm512_set1_ps(scale),
            )
        }
    }

    #[inline(always)]
    unsafe fn weights<const BITS: usize>(codes: *const u8, table: __m512) -> __m512 {
        // SAFETY: the caller has the set and promises the codes.
        unsafe {
            // Even lanes get the word of the first eight codes, odd lanes that of the others.
            let words = match BITS {
                4 => _mm512_set1_epi64(codes.cast::<i64>().read_unaligned()),
                2 => _mm512_set1_epi32(codes.cast::<i32>().read_unaligned()),
                _ => {
                    let [first, second] = tile::eights::<BITS>(codes).map(|word| word as i32);
                    _mm512_mask_set1_epi32(_mm512_set1_epi32(first), ODD, second)
                }
            };
            let shifts = transmute::<[i32; 16], __m512i>(Tables::<BITS>::SHIFTS);
            // A rotation, as the lookup takes four bits: a shift would be checked lane by lane.
            _mm512_permutexvar_ps(_mm512_rorv_epi32(words, shifts), table)
        }
    }

    #[inline(always)]
    unsafe fn kept(codes: u64, mask: u32, table: __m512) -> __m512 {
        // SAFETY: the caller has the set.
        unsafe {
            let low = _mm512_set1_epi32(codes as i32);
            let words = _mm512_mask_set1_epi32(low, 0xff00, (codes >> 32) as i32);
            let shifts =
                _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
            let weights = _mm512_permutexvar_ps(_mm512_rorv_epi32(words, shifts), table);
            _mm512_maskz_expand_ps(mask as __mmask16, weights)
        }
    }
}
