//! Q6_K: 128 bytes of the lower four bits, 64 bytes of the upper two, 16 signed scales of 16 values
//! each, f16 d. Of the values `128·n + e`: the lower bits are in byte `64·n + e%64`, the low half for
//! `e < 64`; the upper ones in byte `32·n + e%32` at bit `2·(e/32)`. `(d · scale) · (q - 32)`.

use half::f16;

use super::fit::symmetric;
use super::{LARGE, half_at};

pub(super) fn block(block: &[u8; 210], out: &mut [f32; LARGE]) {
    let d = half_at(block, 208);
    let (lower, upper) = block[..192].split_at(128);
    let (sub_blocks, _) = out.as_chunks_mut::<16>();
    for (j, (values, &scale)) in sub_blocks.iter_mut().zip(&block[192..208]).enumerate() {
        let d = d * f32::from(scale as i8);
        let (n, e) = (j / 8, 16 * (j % 8));
        let lower = &lower[64 * n + e % 64..];
        let upper = &upper[32 * n + e % 32..];
        for ((value, &low), &high) in values.iter_mut().zip(lower).zip(upper) {
            let q = (low >> (4 * (e / 64)) & 15) | (high >> (2 * (e / 32)) & 3) << 4;
            *value = d * f32::from(q as i8 - 32);
        }
    }
}

/// The block whose values are near `values`, which are finite: scales by least squares.
#[inline(always)]
pub(super) fn quantize(values: &[f32; LARGE]) -> [u8; 210] {
    let mut block = [0; 210];
    let (groups, _) = values.as_chunks::<16>();
    let mut scales = [0.0f32; 16];
    let mut largest = 0.0f32;
    for (scale, group) in scales.iter_mut().zip(groups) {
        *scale = symmetric(group, 32.0);
        largest = if scale.abs() > largest.abs() {
            *scale
        } else {
            largest
        };
    }
    let stored = f16::from_f32(largest / -128.0);
    let d = stored.to_f32();
    block[208..].copy_from_slice(&stored.to_le_bytes());
    for (j, (group, scale)) in groups.iter().zip(scales).enumerate() {
        let code = match d == 0.0 {
            true => 0.0,
            false => (scale / d).round_ties_even().clamp(-128.0, 127.0),
        };
        block[192 + j] = code as i8 as u8;
        let step = d * code;
        let (n, e) = (j / 8, 16 * (j % 8));
        for (i, &x) in group.iter().enumerate() {
            let q = match step == 0.0 {
                true => 0.0,
                false => (x / step).round_ties_even().clamp(-32.0, 31.0),
            };
            let q = (q as i8 + 32) as u8;
            block[64 * n + e % 64 + i] |= (q & 15) << (4 * (e / 64));
            block[128 + 32 * n + e % 32 + i] |= (q >> 4) << (2 * (e / 32));
        }
    }
    block
}
