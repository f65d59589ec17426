//! Q2_K: 16 bytes of scales (low half scale, high half minimum, of 16 values each), 64 bytes of
//! codes, f16 d, f16 dmin. Value `e` is in byte `32·(e/128) + e%32` at bit `2·((e%128)/32)`.
//! `(d · scale) · q - (dmin · minimum)`.

use super::{LARGE, half_at};

pub(super) fn block(block: &[u8; 84], out: &mut [f32; LARGE]) {
    let (d, dmin) = (half_at(block, 80), half_at(block, 82));
    let (sub_blocks, _) = out.as_chunks_mut::<16>();
    for (j, (values, &scale)) in sub_blocks.iter_mut().zip(&block[..16]).enumerate() {
        let (d, min) = (d * f32::from(scale & 15), dmin * f32::from(scale >> 4));
        let codes = &block[16 + 32 * (j / 8) + 16 * (j % 2)..];
        let shift = 2 * (j % 8 / 2);
        for (value, &byte) in values.iter_mut().zip(codes) {
            *value = d * f32::from(byte >> shift & 3) - min;
        }
    }
}
