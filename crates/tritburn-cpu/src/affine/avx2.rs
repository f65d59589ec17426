//! AVX2 and FMA: two vectors of eight floats. Codes become floats, less the zero point, times the
//! scale.

use std::arch::x86_64::*;
use std::ops::Range;

use super::tile::{self, AffineJob, Lanes};
use crate::lm::vector::Avx2;

/// Computes the outputs of `rows` and `tokens`.
///
/// # Safety
/// As [`tile::run`].
#[target_feature(enable = "avx2,fma,popcnt")]
pub(super) unsafe fn run(job: &AffineJob<'_>, rows: Range<usize>, tokens: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { tile::run::<Avx2>(job, rows, tokens) }
}

/// For each mask of eight lanes: which of the kept weights a lane gets, [`DROPPED`] for none.
static RANKS: [[u8; 8]; 256] = ranks();
const DROPPED: u8 = 128;

const fn ranks() -> [[u8; 8]; 256] {
    let mut ranks = [[DROPPED; 8]; 256];
    let mut mask = 0;
    while mask < 256 {
        let (mut lane, mut rank) = (0, 0);
        while lane < 8 {
            if mask >> lane & 1 == 1 {
                ranks[mask][lane] = rank;
                rank += 1;
            }
            lane += 1;
        }
        mask += 1;
    }
    ranks
}

/// The weights of eight codes, code `j` at bit `BITS·j + offset` of a word.
#[inline(always)]
unsafe fn eight<const BITS: usize>(word: u32, offset: i32, [scale, zero]: [__m256; 2]) -> __m256 {
    // SAFETY: the caller has the set.
    unsafe {
        let step = BITS as i32;
        let [s1, s2, s3] = [offset + step, offset + 2 * step, offset + 3 * step];
        let (s4, s5) = (offset + 4 * step, offset + 5 * step);
        let (s6, s7) = (offset + 6 * step, offset + 7 * step);
        let shifts = _mm256_setr_epi32(offset, s1, s2, s3, s4, s5, s6, s7);
        let codes = _mm256_srlv_epi32(_mm256_set1_epi32(word as i32), shifts);
        let codes = _mm256_and_si256(codes, _mm256_set1_epi32((1 << BITS) - 1));
        _mm256_mul_ps(_mm256_sub_ps(_mm256_cvtepi32_ps(codes), zero), scale)
    }
}

impl Lanes for Avx2 {
    /// Scale and zero point.
    type Group = [__m256; 2];
    const ROWS: usize = 2;
    const MAX_TOKENS: usize = 2;

    #[inline(always)]
    unsafe fn group<const BITS: usize>(scale: f32, zero: f32) -> Self::Group {
        // SAFETY: the caller has the set.
        unsafe { [_mm256_set1_ps(scale), _mm256_set1_ps(zero)] }
    }

    #[inline(always)]
    unsafe fn weights<const BITS: usize>(codes: *const u8, group: Self::Group) -> Self::V {
        // SAFETY: the caller has the set and promises the codes.
        unsafe {
            let [first, second] = tile::eights::<BITS>(codes);
            [
                eight::<BITS>(first, 0, group),
                eight::<BITS>(second, tile::offset(BITS), group),
            ]
        }
    }

    #[inline(always)]
    unsafe fn kept(codes: u64, mask: u32, group: Self::Group) -> Self::V {
        // SAFETY: the caller has the set; both masks are below 256.
        unsafe {
            let masks = [mask & 255, mask >> 8 & 255];
            let codes = [codes, codes >> (4 * masks[0].count_ones())];
            let mut weights = [_mm256_setzero_ps(); 2];
            for i in 0..2 {
                let ranks = RANKS.get_unchecked(masks[i] as usize).as_ptr().cast();
                let ranks = _mm256_cvtepu8_epi32(_mm_loadl_epi64(ranks));
                let kept = _mm256_cmpgt_epi32(_mm256_set1_epi32(DROPPED.into()), ranks);
                let packed = eight::<4>(codes[i] as u32, 0, group);
                let spread = _mm256_permutevar8x32_ps(packed, ranks);
                weights[i] = _mm256_and_ps(spread, _mm256_castsi256_ps(kept));
            }
            weights
        }
    }
}
