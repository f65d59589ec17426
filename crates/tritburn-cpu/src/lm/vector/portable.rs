//! Plain Rust, for any processor.

use super::{LANES, Lanes};

pub(crate) struct Portable;

/// `f(a[i], b[i])` in every lane.
#[inline(always)]
fn zip(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let mut out = a;
    for (out, b) in out.iter_mut().zip(b) {
        *out = f(*out, b);
    }
    out
}

impl Lanes for Portable {
    type V = [f32; LANES];
    const WIDE: bool = false;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self::V {
        // SAFETY: the caller promises 16 floats.
        unsafe { at.cast::<Self::V>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_f16(at: *const u16) -> Self::V {
        // SAFETY: the caller promises 16 halves.
        unsafe { at.cast::<[u16; LANES]>().read_unaligned() }.map(f16_value)
    }

    #[inline(always)]
    unsafe fn load_bf16(at: *const u16) -> Self::V {
        // SAFETY: the caller promises 16 brain floats.
        unsafe { at.cast::<[u16; LANES]>().read_unaligned() }.map(bf16_value)
    }

    #[inline(always)]
    unsafe fn store(v: Self::V, at: *mut f32) {
        // SAFETY: the caller promises 16 floats.
        unsafe { at.cast::<Self::V>().write_unaligned(v) }
    }

    #[inline(always)]
    unsafe fn store_f16(v: Self::V, at: *mut u16) {
        let halves = v.map(|v| half::f16::from_f32(v).to_bits());
        // SAFETY: the caller promises 16 halves.
        unsafe { at.cast::<[u16; LANES]>().write_unaligned(halves) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        zip(zip(a, b, |a, b| a * b), c, |ab, c| ab + c)
    }

    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn keep(limit: Self::V, at: f32, value: Self::V, other: Self::V) -> Self::V {
        let mut out = other;
        for i in 0..LANES {
            out[i] = if limit[i] >= at { value[i] } else { other[i] };
        }
        out
    }

    #[inline(always)]
    unsafe fn power(biased: Self::V) -> Self::V {
        biased.map(|v| f32::from_bits((v.to_bits() << 23).wrapping_add(1.0f32.to_bits())))
    }

    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        v.iter().sum()
    }
}

/// The value of a half, without branches so that loops vectorise.
#[inline(always)]
pub(super) fn f16_value(bits: u16) -> f32 {
    let bits = u32::from(bits);
    let sign = (bits & 0x8000) << 16;
    let size = (bits & 0x7fff) << 13;
    // The exponent's bias is 112 larger in f32; a product also normalises subnormal halves.
    let finite = f32::from_bits(size) * f32::from_bits((127 + 112) << 23);
    let special = size | 0x7f80_0000;
    let value = if size >= 0x7c00 << 13 {
        special
    } else {
        finite.to_bits()
    };
    f32::from_bits(value | sign)
}

/// The value of a brain float.
#[inline(always)]
pub(super) fn bf16_value(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The nearest brain float, ties to even, without branches so that loops vectorise.
#[inline(always)]
pub(super) fn bf16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    // A NaN could round to infinity; it is made quiet instead.
    let bits = if value.is_nan() {
        bits | 0x0040_0000
    } else {
        rounded
    };
    (bits >> 16) as u16
}
