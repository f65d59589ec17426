//! Q4_K: f16 d, f16 dmin, 12 bytes of scales and minima of 32 values each, 128 bytes of codes.
//! Value `e` is in byte `32·(e/64) + e%32`, the low half first.
//! `(d · scale) · q - (dmin · minimum)`.

use super::k_scales::scale_and_min;
use super::{LARGE, half_at};

pub(super) fn block(block: &[u8; 144], out: &mut [f32; LARGE]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    let mut scales = [0; 12];
    scales.copy_from_slice(&block[4..16]);
    let (sub_blocks, _) = out.as_chunks_mut::<32>();
    for (j, values) in sub_blocks.iter_mut().enumerate() {
        let (scale, min) = scale_and_min(&scales, j);
        let (d, min) = (d * f32::from(scale), dmin * f32::from(min));
        let codes = &block[16 + 32 * (j / 2)..];
        let shift = 4 * (j % 2);
        for (value, &byte) in values.iter_mut().zip(codes) {
            *value = d * f32::from(byte >> shift & 15) - min;
        }
    }
}
