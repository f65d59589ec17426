//! Dot products of 64 int8 at a time, on every instruction set.

use crate::isa::Isa;

/// The vector operations of an instruction set, on 64 bytes at a time.
///
/// # Safety
/// Every function needs the instruction set, and pointers valid for 64 bytes.
pub(super) trait Bytes {
    /// 64 weights, each [`BIAS`](Self::BIAS) larger than it was.
    type Weights: Copy;
    /// Sums of products.
    type Sums: Copy;
    /// What the set adds to weights to make them unsigned.
    const BIAS: i32;
    /// Tokens of the widest tile, at most 4.
    const MAX_TOKENS: usize;

    /// No products yet.
    unsafe fn zero() -> Self::Sums;
    /// Reads 64 weights.
    unsafe fn load(weights: *const i8) -> Self::Weights;
    /// Adds the products with 64 activations, wrapping.
    unsafe fn dot(sums: Self::Sums, weights: Self::Weights, x: *const i8) -> Self::Sums;
    /// The sum of all products, wrapping.
    unsafe fn sum(sums: Self::Sums) -> i32;
    /// Prefetches the cache line of an address, valid or not.
    #[inline(always)]
    unsafe fn prefetch(_address: *const i8) {}
}

/// Something to run in code compiled for an instruction set.
pub(super) trait BytesWork {
    /// Runs it. Must be `#[inline(always)]`, as all that it calls.
    ///
    /// # Safety
    /// The set is available, and whatever the implementation asks for.
    unsafe fn run<B: Bytes>(self);
}

/// Runs `work` on an instruction set.
///
/// # Safety
/// The set is available, and whatever the work asks for.
pub(super) unsafe fn run<W: BytesWork>(isa: Isa, work: W) {
    // SAFETY: the caller's promise.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni | Isa::Amx => x86::run_avx512(work),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => x86::run_avx_vnni(work),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => x86::run_avx2(work),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon | Isa::NeonDot => work.run::<neon::Neon>(),
            _ => work.run::<Portable>(),
        }
    }
}

/// Plain Rust, for any processor.
struct Portable;

impl Bytes for Portable {
    type Weights = [i8; 64];
    type Sums = [i32; 16];
    const BIAS: i32 = 0;
    const MAX_TOKENS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> Self::Sums {
        [0; 16]
    }

    #[inline(always)]
    unsafe fn load(weights: *const i8) -> Self::Weights {
        // SAFETY: the caller promises 64 bytes.
        unsafe { weights.cast::<Self::Weights>().read() }
    }

    #[inline(always)]
    unsafe fn dot(mut sums: Self::Sums, weights: Self::Weights, x: *const i8) -> Self::Sums {
        // SAFETY: the caller promises 64 bytes.
        let x = unsafe { x.cast::<Self::Weights>().read() };
        for quarter in 0..4 {
            for lane in 0..16 {
                let at = 16 * quarter + lane;
                let product = i32::from(i16::from(weights[at]) * i16::from(x[at]));
                sums[lane] = sums[lane].wrapping_add(product);
            }
        }
        sums
    }

    #[inline(always)]
    unsafe fn sum(sums: Self::Sums) -> i32 {
        sums.into_iter().fold(0, i32::wrapping_add)
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Bytes, BytesWork};

    /// Runs `work` in code compiled for AVX-512 VNNI.
    ///
    /// # Safety
    /// The set is available, and whatever the work asks for.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) unsafe fn run_avx512<W: BytesWork>(work: W) {
        // SAFETY: the caller's promise.
        unsafe { work.run::<Avx512>() }
    }

    /// Runs `work` in code compiled for AVX-VNNI.
    ///
    /// # Safety
    /// The set is available, and whatever the work asks for.
    #[target_feature(enable = "avx2,avxvnni")]
    pub(super) unsafe fn run_avx_vnni<W: BytesWork>(work: W) {
        // SAFETY: the caller's promise.
        unsafe { work.run::<AvxVnni>() }
    }

    /// Runs `work` in code compiled for AVX2.
    ///
    /// # Safety
    /// The set is available, and whatever the work asks for.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn run_avx2<W: BytesWork>(work: W) {
        // SAFETY: the caller's promise.
        unsafe { work.run::<Avx2>() }
    }

    /// `vpdpbusd` multiplies unsigned weights by signed activations, four to a lane. Flipping the
    /// upper bit adds 128 to a weight and makes it unsigned.
    struct Avx512;

    impl Bytes for Avx512 {
        type Weights = __m512i;
        type Sums = __m512i;
        const BIAS: i32 = 128;
        const MAX_TOKENS: usize = 4;

        #[inline(always)]
        unsafe fn zero() -> __m512i {
            // SAFETY: the caller has the set.
            unsafe { _mm512_setzero_si512() }
        }

        #[inline(always)]
        unsafe fn load(weights: *const i8) -> __m512i {
            // SAFETY: the caller promises 64 bytes.
            unsafe {
                _mm512_xor_si512(
                    _mm512_loadu_si512(weights.cast()),
                    _mm512_set1_epi8(i8::MIN),
                )
            }
        }

        #[inline(always)]
        unsafe fn dot(sums: __m512i, weights: __m512i, x: *const i8) -> __m512i {
            // SAFETY: the caller promises 64 bytes.
            unsafe { _mm512_dpbusd_epi32(sums, weights, _mm512_loadu_si512(x.cast())) }
        }

        #[inline(always)]
        unsafe fn sum(sums: __m512i) -> i32 {
            // SAFETY: the caller has the set.
            unsafe { _mm512_reduce_add_epi32(sums) }
        }

        #[inline(always)]
        unsafe fn prefetch(address: *const i8) {
            // SAFETY: a hint, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address) }
        }
    }

    /// The same in two halves.
    struct AvxVnni;

    impl Bytes for AvxVnni {
        type Weights = [__m256i; 2];
        type Sums = __m256i;
        const BIAS: i32 = 128;
        const MAX_TOKENS: usize = 2;

        #[inline(always)]
        unsafe fn zero() -> __m256i {
            // SAFETY: the caller has the set.
            unsafe { _mm256_setzero_si256() }
        }

        #[inline(always)]
        unsafe fn load(weights: *const i8) -> [__m256i; 2] {
            // SAFETY: the caller promises 64 bytes.
            unsafe {
                let flip = _mm256_set1_epi8(i8::MIN);
                [
                    _mm256_xor_si256(_mm256_loadu_si256(weights.cast()), flip),
                    _mm256_xor_si256(_mm256_loadu_si256(weights.add(32).cast()), flip),
                ]
            }
        }

        #[inline(always)]
        unsafe fn dot(sums: __m256i, weights: [__m256i; 2], x: *const i8) -> __m256i {
            // SAFETY: the caller promises 64 bytes.
            unsafe {
                let low = _mm256_loadu_si256(x.cast());
                let high = _mm256_loadu_si256(x.add(32).cast());
                let sums = _mm256_dpbusd_avx_epi32(sums, weights[0], low);
                _mm256_dpbusd_avx_epi32(sums, weights[1], high)
            }
        }

        #[inline(always)]
        unsafe fn sum(sums: __m256i) -> i32 {
            // SAFETY: the caller has the set.
            unsafe { sum_256(sums) }
        }

        #[inline(always)]
        unsafe fn prefetch(address: *const i8) {
            // SAFETY: a hint, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address) }
        }
    }

    /// Widened to 16 bits first: the products of bytes of this size overflow `vpmaddubsw`.
    struct Avx2;

    impl Bytes for Avx2 {
        type Weights = [__m256i; 4];
        type Sums = __m256i;
        const BIAS: i32 = 0;
        const MAX_TOKENS: usize = 2;

        #[inline(always)]
        unsafe fn zero() -> __m256i {
            // SAFETY: the caller has the set.
            unsafe { _mm256_setzero_si256() }
        }

        #[inline(always)]
        unsafe fn load(weights: *const i8) -> [__m256i; 4] {
            // SAFETY: the caller promises 64 bytes.
            unsafe {
                [0, 16, 32, 48]
                    .map(|at| weights.add(at))
                    .map(|at| widened(at))
            }
        }

        #[inline(always)]
        unsafe fn dot(mut sums: __m256i, weights: [__m256i; 4], x: *const i8) -> __m256i {
            for (i, weights) in weights.into_iter().enumerate() {
                // SAFETY: the caller promises 64 bytes.
                unsafe {
                    let products = _mm256_madd_epi16(weights, widened(x.add(16 * i)));
                    sums = _mm256_add_epi32(sums, products);
                }
            }
            sums
        }

        #[inline(always)]
        unsafe fn sum(sums: __m256i) -> i32 {
            // SAFETY: the caller has the set.
            unsafe { sum_256(sums) }
        }

        #[inline(always)]
        unsafe fn prefetch(address: *const i8) {
            // SAFETY: a hint, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address) }
        }
    }

    /// 16 bytes as 16-bit integers.
    #[inline(always)]
    unsafe fn widened(at: *const i8) -> __m256i {
        // SAFETY: the caller has the set and promises 16 bytes.
        unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(at.cast())) }
    }

    #[inline(always)]
    unsafe fn sum_256(v: __m256i) -> i32 {
        // SAFETY: the caller has the set.
        unsafe {
            let four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
            let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
            let one = _mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two));
            _mm_cvtsi128_si32(one)
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::*;

    use super::Bytes;

    /// Widening multiplies, whose pairs of products fit 32 bits.
    pub(super) struct Neon;

    impl Bytes for Neon {
        type Weights = [int8x16_t; 4];
        type Sums = int32x4_t;
        const BIAS: i32 = 0;
        const MAX_TOKENS: usize = 2;

        #[inline(always)]
        unsafe fn zero() -> int32x4_t {
            // SAFETY: NEON is part of AArch64.
            unsafe { vdupq_n_s32(0) }
        }

        #[inline(always)]
        unsafe fn load(weights: *const i8) -> [int8x16_t; 4] {
            // SAFETY: the caller promises 64 bytes.
            unsafe {
                [
                    vld1q_s8(weights),
                    vld1q_s8(weights.add(16)),
                    vld1q_s8(weights.add(32)),
                    vld1q_s8(weights.add(48)),
                ]
            }
        }

        #[inline(always)]
        unsafe fn dot(mut sums: int32x4_t, weights: [int8x16_t; 4], x: *const i8) -> int32x4_t {
            for (i, weights) in weights.into_iter().enumerate() {
                // SAFETY: the caller promises 64 bytes.
                unsafe {
                    let x = vld1q_s8(x.add(16 * i));
                    let low = vmull_s8(vget_low_s8(weights), vget_low_s8(x));
                    sums = vpadalq_s16(sums, low);
                    sums = vpadalq_s16(sums, vmull_high_s8(weights, x));
                }
            }
            sums
        }

        #[inline(always)]
        unsafe fn sum(sums: int32x4_t) -> i32 {
            // SAFETY: NEON is part of AArch64.
            unsafe { vaddvq_s32(sums) }
        }
    }
}
