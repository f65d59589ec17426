//! AVX2: `vpmaddubsw` multiplies unsigned codes by signed bytes of activations into i16 pairs, `vpmaddwd` those by the
//! scales of their groups.

use std::arch::x86_64::*;

use tritburn_formats::codec::gguf::k_quant::KQuant;

use super::portable::scales_and_minima;
use super::tokens::TokenPointers;
use super::{BLOCK, KQuantJob, value};

/// Prefetch distance: how far ahead of the weights in use the next ones are prefetched.
const PREFETCH_BYTES: usize = 8192;
/// Bytes of a cache line.
const LINE: usize = 64;

/// The outputs of a weight row and `width` tokens, at most four.
///
/// # Safety
/// AVX2, F16C and FMA are available, row and tokens are inside the job, and no other task writes these outputs.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn row(job: &KQuantJob<'_>, row: usize, token: usize, width: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match job.weights.kind {
            KQuant::Q4K => some::<Q4K>(job, row, token, width),
            KQuant::Q5K => some::<Q5K>(job, row, token, width),
            KQuant::Q6K => some::<Q6K>(job, row, token, width),
        }
    }
}

#[inline(always)]
unsafe fn some<B: Block>(job: &KQuantJob<'_>, row: usize, token: usize, width: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match width {
            1 => tokens::<B, 1>(job, row, token),
            2 => tokens::<B, 2>(job, row, token),
            3 => tokens::<B, 3>(job, row, token),
            _ => tokens::<B, 4>(job, row, token),
        }
    }
}

/// The outputs of `T` tokens.
///
/// # Safety
/// As [`row`].
#[inline(always)]
unsafe fn tokens<B: Block, const T: usize>(job: &KQuantJob<'_>, row: usize, token: usize) {
    let bytes = B::KIND.block_bytes();
    let x: [TokenPointers; T] = std::array::from_fn(|t| job.tokens.pointers(token + t));
    let mut logits = [0.0f32; T];
    for (index, block) in job.weights.row(row).chunks_exact(bytes).enumerate() {
        let block = block.as_ptr();
        for line in (0..bytes).step_by(LINE) {
            let ahead = block.wrapping_add(PREFETCH_BYTES + line);
            // SAFETY: a hint, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead.cast()) };
        }
        // SAFETY: the caller has the sets; a block is as long as its kind says, and a token has as many blocks as a
        // row.
        unsafe {
            let (scales, minima, factors) = B::scales(block);
            // Products with the upper and the lower bytes of activations.
            let mut products = [[_mm256_setzero_si256(); 2]; T];
            half_block::<B, T, 0>(block, scales, &x, index, &mut products);
            half_block::<B, T, 1>(block, scales, &x, index, &mut products);
            for t in 0..T {
                let sums = x[t].sums.add(index).cast::<__m256i>();
                let high = _mm256_madd_epi16(minima, _mm256_loadu_si256(sums));
                let low = _mm256_madd_epi16(minima, _mm256_loadu_si256(sums.add(1)));
                let sums = sum4([products[t][0], products[t][1], high, low]);
                let [i_high, i_low, m_high, m_low] = sums.map(i64::from);
                let sums = [256 * i_high + i_low, 256 * m_high + m_low];
                logits[t] += value(B::KIND, factors, sums);
            }
        }
    }
    for (t, logit) in logits.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { job.store(token + t, row, logit) };
    }
}

/// Adds the products of half `H` of a block. Which half is known to the compiler, so that masks and shuffles are
/// constants.
///
/// # Safety
/// Needs AVX2, a block as long as its kind says, and tokens with a block `index`.
#[inline(always)]
unsafe fn half_block<B: Block, const T: usize, const H: usize>(
    block: *const u8,
    scales: __m256i,
    x: &[TokenPointers; T],
    index: usize,
    products: &mut [[__m256i; 2]; T],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let codes = B::codes::<H>(block);
        for i in 0..4 {
            let at = index * BLOCK + H * BLOCK / 2 + 32 * i;
            // Of groups 2n and 2n + 1, in one half of the vector each.
            let n = (4 * H + i) as i16;
            let pick = _mm256_set1_epi16((2 * n) | ((2 * n + 1) << 8));
            let scales = _mm256_shuffle_epi8(scales, pick);
            for t in 0..T {
                for plane in 0..2 {
                    // A pair is at most 2 · 63 · 128 in size.
                    let x = _mm256_loadu_si256(x[t].planes[plane].add(at).cast());
                    let pairs = _mm256_maddubs_epi16(codes[i], x);
                    let scaled = _mm256_madd_epi16(pairs, scales);
                    products[t][plane] = _mm256_add_epi32(products[t][plane], scaled);
                }
            }
        }
    }
}

/// Sums of the lanes of four vectors; none leaves i32.
///
/// # Safety
/// Needs AVX2.
#[inline(always)]
unsafe fn sum4([a, b, c, d]: [__m256i; 4]) -> [i32; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let sums = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
        let sums = _mm_add_epi32(
            _mm256_castsi256_si128(sums),
            _mm256_extracti128_si256::<1>(sums),
        );
        std::mem::transmute(sums)
    }
}

/// How a kind stores a block.
///
/// # Safety
/// Every function needs AVX2 and F16C, and a block as long as the kind says.
trait Block {
    const KIND: KQuant;

    /// Scales and minima of the 16 groups of 16 weights, even groups in the lower half of a vector, and their factors.
    /// Q4_K and Q5_K store them alike, each for two groups.
    #[inline(always)]
    unsafe fn scales(block: *const u8) -> (__m256i, __m256i, [f32; 2]) {
        // SAFETY: the caller's promise.
        unsafe {
            let [scales, minima] = scales_and_minima(&block.add(4).cast::<[u8; 12]>().read());
            let both = |bytes: [u8; 8]| {
                let bytes = _mm_cvtsi64_si128(i64::from_le_bytes(bytes));
                _mm256_broadcastsi128_si256(_mm_cvtepu8_epi16(bytes))
            };
            let factors = [half_at(block, 0), half_at(block, 2)];
            (both(scales), both(minima), factors)
        }
    }

    /// The codes of half `H` of a block, in order.
    unsafe fn codes<const H: usize>(block: *const u8) -> [__m256i; 4];
}

struct Q6K;

impl Block for Q6K {
    const KIND: KQuant = KQuant::Q6K;

    #[inline(always)]
    unsafe fn scales(block: *const u8) -> (__m256i, __m256i, [f32; 2]) {
        // SAFETY: the caller's promise: 210 bytes.
        unsafe {
            let order = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
            let bytes = _mm_loadu_si128(block.add(192).cast());
            let scales = _mm256_cvtepi8_epi16(_mm_shuffle_epi8(bytes, order));
            // Codes are 32 larger than what they mean.
            let minima = _mm256_slli_epi16::<5>(scales);
            (scales, minima, [half_at(block, 208); 2])
        }
    }

    #[inline(always)]
    unsafe fn codes<const H: usize>(block: *const u8) -> [__m256i; 4] {
        // SAFETY: the caller's promise: 210 bytes, 192 of them codes.
        unsafe {
            let (two, four) = (_mm256_set1_epi8(0x30), _mm256_set1_epi8(15));
            let low = block.add(64 * H);
            let low = [0, 32].map(|at| _mm256_loadu_si256(low.add(at).cast()));
            let high = _mm256_loadu_si256(block.add(128 + 32 * H).cast());
            let join = |low, high| {
                _mm256_or_si256(_mm256_and_si256(low, four), _mm256_and_si256(high, two))
            };
            [
                join(low[0], _mm256_slli_epi16::<4>(high)),
                join(low[1], _mm256_slli_epi16::<2>(high)),
                join(_mm256_srli_epi16::<4>(low[0]), high),
                join(_mm256_srli_epi16::<4>(low[1]), _mm256_srli_epi16::<2>(high)),
            ]
        }
    }
}

struct Q4K;

impl Block for Q4K {
    const KIND: KQuant = KQuant::Q4K;

    #[inline(always)]
    unsafe fn codes<const H: usize>(block: *const u8) -> [__m256i; 4] {
        // SAFETY: the caller's promise: 144 bytes.
        unsafe { nibbles(block.add(16 + 64 * H)) }
    }
}

struct Q5K;

impl Block for Q5K {
    const KIND: KQuant = KQuant::Q5K;

    #[inline(always)]
    unsafe fn codes<const H: usize>(block: *const u8) -> [__m256i; 4] {
        // SAFETY: the caller's promise: 176 bytes.
        unsafe {
            let mut codes = nibbles(block.add(48 + 64 * H));
            let fifth = _mm256_loadu_si256(block.add(16).cast());
            let (bit, sixteen) = (1i8 << (4 * H), _mm256_set1_epi8(16));
            for (i, codes) in codes.iter_mut().enumerate() {
                let bit = _mm256_set1_epi8(bit << i);
                let set = _mm256_cmpeq_epi8(_mm256_and_si256(fifth, bit), bit);
                *codes = _mm256_or_si256(*codes, _mm256_and_si256(set, sixteen));
            }
            codes
        }
    }
}

/// 128 codes in 64 bytes: of each 32 bytes the low halves, then the high ones.
///
/// # Safety
/// Needs AVX2 and 64 readable bytes.
#[inline(always)]
unsafe fn nibbles(bytes: *const u8) -> [__m256i; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let four = _mm256_set1_epi8(15);
        let [a, b] = [0, 32].map(|at| _mm256_loadu_si256(bytes.add(at).cast()));
        [a, _mm256_srli_epi16::<4>(a), b, _mm256_srli_epi16::<4>(b)]
            .map(|bytes| _mm256_and_si256(bytes, four))
    }
}

/// The f16 at byte `at`.
///
/// # Safety
/// Needs F16C and two readable bytes.
#[inline(always)]
unsafe fn half_at(block: *const u8, at: usize) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        let bits = block.add(at).cast::<u16>().read_unaligned();
        _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits.into())))
    }
}
