//! Q3_K: 32 bytes of third bits, 64 bytes of the lower two, 12 bytes of scales of 16 values each,
//! f16 d. Value `e` has its lower bits where Q2_K has them, and its third in byte `e%32` at bit
//! `e/32`; where that is not set, 4 is subtracted. `(d · scale) · q`.

use super::k_scales::signed_scale;
use super::{LARGE, half_at};

pub(super) fn block(block: &[u8; 110], out: &mut [f32; LARGE]) {
    let d = half_at(block, 108);
    let mut scales = [0; 12];
    scales.copy_from_slice(&block[96..108]);
    let (sub_blocks, _) = out.as_chunks_mut::<16>();
    for (j, values) in sub_blocks.iter_mut().enumerate() {
        let d = d * f32::from(signed_scale(&scales, j));
        let codes = &block[32 + 32 * (j / 8) + 16 * (j % 2)..];
        let thirds = &block[16 * (j % 2)..];
        let shift = 2 * (j % 8 / 2);
        for ((value, &byte), &third) in values.iter_mut().zip(codes).zip(thirds) {
            let q = (byte >> shift & 3) | (third >> (j / 2) & 1) << 2;
            *value = d * f32::from(q as i8 - 4);
        }
    }
}
