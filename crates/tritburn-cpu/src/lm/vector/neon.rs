//! NEON: four registers of four floats.

use std::arch::aarch64::*;

use super::{LANES, Lanes, portable};

pub(crate) struct Neon;

impl Lanes for Neon {
    type V = [float32x4_t; 4];
    const WIDE: bool = false;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        // SAFETY: NEON is part of AArch64.
        unsafe { [vdupq_n_f32(value); 4] }
    }

    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self::V {
        // SAFETY: the caller promises 16 floats.
        unsafe {
            [
                vld1q_f32(at),
                vld1q_f32(at.add(4)),
                vld1q_f32(at.add(8)),
                vld1q_f32(at.add(12)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn load_f16(at: *const u16) -> Self::V {
        // SAFETY: the caller promises 16 halves. The loop is plain integer code, which vectorises.
        unsafe {
            let floats = at
                .cast::<[u16; LANES]>()
                .read_unaligned()
                .map(portable::f16_value);
            Self::load(floats.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn load_bf16(at: *const u16) -> Self::V {
        // SAFETY: the caller promises 16 brain floats.
        unsafe {
            let low = vld1q_u16(at);
            let high = vld1q_u16(at.add(8));
            [
                vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(vget_low_u16(low)))),
                vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(vget_high_u16(low)))),
                vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(vget_low_u16(high)))),
                vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(vget_high_u16(high)))),
            ]
        }
    }

    #[inline(always)]
    unsafe fn store(v: Self::V, at: *mut f32) {
        for (i, v) in v.into_iter().enumerate() {
            // SAFETY: the caller promises 16 floats.
            unsafe { vst1q_f32(at.add(4 * i), v) };
        }
    }

    #[inline(always)]
    unsafe fn store_f16(v: Self::V, at: *mut u16) {
        let mut floats = [0.0f32; LANES];
        // SAFETY: the caller promises 16 halves.
        unsafe {
            Self::store(v, floats.as_mut_ptr());
            at.cast::<[u16; LANES]>()
                .write_unaligned(floats.map(|v| half::f16::from_f32(v).to_bits()));
        }
    }

    #[inline(always)]
    unsafe fn add(mut a: Self::V, b: Self::V) -> Self::V {
        for i in 0..4 {
            // SAFETY: NEON is part of AArch64.
            a[i] = unsafe { vaddq_f32(a[i], b[i]) };
        }
        a
    }

    #[inline(always)]
    unsafe fn sub(mut a: Self::V, b: Self::V) -> Self::V {
        for i in 0..4 {
            // SAFETY: NEON is part of AArch64.
            a[i] = unsafe { vsubq_f32(a[i], b[i]) };
        }
        a
    }

    #[inline(always)]
    unsafe fn mul(mut a: Self::V, b: Self::V) -> Self::V {
        for i in 0..4 {
            // SAFETY: NEON is part of AArch64.
            a[i] = unsafe { vmulq_f32(a[i], b[i]) };
        }
        a
    }

    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, mut c: Self::V) -> Self::V {
        for i in 0..4 {
            // SAFETY: NEON is part of AArch64.
            c[i] = unsafe { vfmaq_f32(c[i], a[i], b[i]) };
        }
        c
    }

    #[inline(always)]
    unsafe fn max(a: Self::V, mut b: Self::V) -> Self::V {
        for i in 0..4 {
            // SAFETY: NEON is part of AArch64. A comparison with NaN is false, which keeps `b`.
            b[i] = unsafe { vbslq_f32(vcgtq_f32(a[i], b[i]), a[i], b[i]) };
        }
        b
    }

    #[inline(always)]
    unsafe fn keep(limit: Self::V, at: f32, value: Self::V, mut other: Self::V) -> Self::V {
        for i in 0..4 {
            // SAFETY: NEON is part of AArch64.
            other[i] = unsafe {
                let mask = vcgeq_f32(limit[i], vdupq_n_f32(at));
                vbslq_f32(mask, value[i], other[i])
            };
        }
        other
    }

    #[inline(always)]
    unsafe fn power(mut biased: Self::V) -> Self::V {
        for v in &mut biased {
            // SAFETY: NEON is part of AArch64.
            *v = unsafe {
                let exponent = vshlq_n_s32::<23>(vreinterpretq_s32_f32(*v));
                let one = vdupq_n_s32(1.0f32.to_bits() as i32);
                vreinterpretq_f32_s32(vaddq_s32(exponent, one))
            };
        }
        biased
    }

    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        // SAFETY: NEON is part of AArch64.
        unsafe { vaddvq_f32(vaddq_f32(vaddq_f32(v[0], v[1]), vaddq_f32(v[2], v[3]))) }
    }
}
