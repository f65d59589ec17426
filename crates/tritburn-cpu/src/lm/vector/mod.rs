//! Sixteen floats at a time, on every instruction set, and the way into code compiled for one.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(test)]
mod tests;

use super::element::{Element, Kind};
use crate::isa::Isa;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
pub(crate) use portable::Portable;

/// Floats of a vector.
pub(crate) const LANES: usize = 16;

/// The vector operations of an instruction set, on 16 floats at a time.
///
/// # Safety
/// Every function needs the instruction set, and pointers valid for 16 elements.
pub(crate) trait Lanes {
    /// 16 floats.
    type V: Copy;
    /// Whether 24 accumulators and their operands fit the registers; if not, 8 do.
    const WIDE: bool;

    /// All lanes the same.
    unsafe fn splat(value: f32) -> Self::V;
    /// Reads 16 floats.
    unsafe fn load(at: *const f32) -> Self::V;
    /// Reads 16 halves.
    unsafe fn load_f16(at: *const u16) -> Self::V;
    /// Reads 16 brain floats.
    unsafe fn load_bf16(at: *const u16) -> Self::V;
    /// Writes 16 floats.
    unsafe fn store(v: Self::V, at: *mut f32);
    /// Writes 16 halves, rounded to nearest even.
    unsafe fn store_f16(v: Self::V, at: *mut u16);
    /// `a + b`.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// `a·b`.
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a·b + c`, fused where the set can.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger one; `b` where either is NaN.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// `value` in lanes where `limit >= at`, `other` elsewhere.
    unsafe fn keep(limit: Self::V, at: f32, value: Self::V, other: Self::V) -> Self::V;
    /// `2^n` from the bits of `n + 1.5·2²³`, for whole n from -126 to 127.
    unsafe fn power(biased: Self::V) -> Self::V;
    /// Sum of the lanes.
    unsafe fn sum(v: Self::V) -> f32;
    /// Sums of the lanes of four vectors.
    #[inline(always)]
    unsafe fn sum4(v: [Self::V; 4]) -> [f32; 4] {
        // SAFETY: the caller has the set.
        unsafe {
            [
                Self::sum(v[0]),
                Self::sum(v[1]),
                Self::sum(v[2]),
                Self::sum(v[3]),
            ]
        }
    }
    /// Prefetches the cache line of an address, valid or not.
    #[inline(always)]
    unsafe fn prefetch(_address: *const u8) {}

    /// Writes 16 brain floats, rounded to nearest even.
    #[inline(always)]
    unsafe fn store_bf16(v: Self::V, at: *mut u16) {
        let mut floats = [0.0f32; LANES];
        // SAFETY: the caller has the set and promises 16 elements.
        unsafe {
            Self::store(v, floats.as_mut_ptr());
            at.cast::<[u16; LANES]>()
                .write_unaligned(floats.map(portable::bf16_bits));
        }
    }

    /// `2^x` for x below 128, to a few units in the last place; below -126 it stays at `2^-126`.
    /// NaN stays NaN.
    #[inline(always)]
    unsafe fn exp2(x: Self::V) -> Self::V {
        /// `2^f` for |f| <= 1/2, through the seven Chebyshev points of that interval: within 2e-8.
        const TERMS: [f32; 7] = [
            1.546_144_5e-4,
            1.340_042_8e-3,
            9.618_057e-3,
            5.550_327e-2,
            2.402_265e-1,
            6.931_472e-1,
            1.0,
        ];
        // f32 has no fraction bits from 2²³ on, so adding this rounds to a whole number.
        const ROUND: f32 = 12_582_912.0;
        // SAFETY: the caller has the set.
        unsafe {
            let x = Self::max(Self::splat(-126.0), x);
            let biased = Self::add(x, Self::splat(ROUND));
            let fraction = Self::sub(x, Self::sub(biased, Self::splat(ROUND)));
            let mut sum = Self::splat(TERMS[0]);
            for &term in &TERMS[1..] {
                sum = Self::fma(sum, fraction, Self::splat(term));
            }
            Self::mul(sum, Self::power(biased))
        }
    }
}

/// Reads 16 elements.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn load<L: Lanes, E: Element>(at: *const E) -> L::V {
    // SAFETY: the caller's promise; the kind names the type behind the pointer.
    unsafe {
        match E::KIND {
            Kind::F32 => L::load(at.cast()),
            Kind::F16 => L::load_f16(at.cast()),
            Kind::Bf16 => L::load_bf16(at.cast()),
        }
    }
}

/// Reads `count` <= 16 elements; the other lanes are zero.
///
/// # Safety
/// The set is available and `at` is valid for `count` elements.
#[inline(always)]
pub(crate) unsafe fn load_part<L: Lanes, E: Element>(at: *const E, count: usize) -> L::V {
    let mut part = [E::default(); LANES];
    // SAFETY: the caller promises `count` elements; the copy has 16.
    unsafe {
        part[..count].copy_from_slice(std::slice::from_raw_parts(at, count));
        load::<L, E>(part.as_ptr())
    }
}

/// Writes 16 elements.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn store<L: Lanes, E: Element>(v: L::V, at: *mut E) {
    // SAFETY: the caller's promise; the kind names the type behind the pointer.
    unsafe {
        match E::KIND {
            Kind::F32 => L::store(v, at.cast()),
            Kind::F16 => L::store_f16(v, at.cast()),
            Kind::Bf16 => L::store_bf16(v, at.cast()),
        }
    }
}

/// `to[i] = from[i]` in f32; `to` may be longer.
///
/// # Safety
/// The set is available.
#[inline(always)]
pub(crate) unsafe fn widen<L: Lanes, E: Element>(from: &[E], to: &mut [f32]) {
    let to = &mut to[..from.len()];
    let (from, from_rest) = from.as_chunks::<LANES>();
    let (to, to_rest) = to.as_chunks_mut::<LANES>();
    for (from, to) in from.iter().zip(to) {
        // SAFETY: both have 16 elements.
        unsafe { L::store(load::<L, E>(from.as_ptr()), to.as_mut_ptr()) };
    }
    for (from, to) in from_rest.iter().zip(to_rest) {
        *to = from.to_f32();
    }
}

/// `to[i] = from[i]` rounded to nearest even; `to` may be longer.
///
/// # Safety
/// The set is available.
#[inline(always)]
pub(crate) unsafe fn narrow<L: Lanes, E: Element>(from: &[f32], to: &mut [E]) {
    let to = &mut to[..from.len()];
    let (from, from_rest) = from.as_chunks::<LANES>();
    let (to, to_rest) = to.as_chunks_mut::<LANES>();
    for (from, to) in from.iter().zip(to) {
        // SAFETY: both have 16 elements.
        unsafe { store::<L, E>(L::load(from.as_ptr()), to.as_mut_ptr()) };
    }
    for (from, to) in from_rest.iter().zip(to_rest) {
        *to = E::from_f32(*from);
    }
}

/// Something to run in code compiled for an instruction set.
pub(crate) trait Work {
    /// Runs it. Must be `#[inline(always)]`, as all that it calls, to be compiled for the set.
    ///
    /// # Safety
    /// The set is available, and whatever the implementation asks for.
    unsafe fn run<L: Lanes>(self);
}

/// Runs `work` on an instruction set.
///
/// # Safety
/// The set is available, and whatever the work asks for.
pub(crate) unsafe fn run<W: Work>(isa: Isa, work: W) {
    // SAFETY: the caller's promise.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni | Isa::Amx => avx512::run(work),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni => avx2::run(work),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon | Isa::NeonDot => work.run::<neon::Neon>(),
            _ => work.run::<portable::Portable>(),
        }
    }
}
