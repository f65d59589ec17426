//! Q5_K: f16 d, f16 dmin, 12 bytes of scales and minima as in Q4_K, 32 bytes of fifth bits (value
//! `e` in byte `e%32` at bit `e/32`), 128 bytes of the lower four as in Q4_K.
//! `(d · scale) · q - (dmin · minimum)`.

use super::LARGE;
use super::k_scales::{factors_and_minima, quantize_groups};

pub(super) fn block(block: &[u8; 176], out: &mut [f32; LARGE]) {
    let (sub_blocks, _) = out.as_chunks_mut::<32>();
    let factors = factors_and_minima(block);
    for (j, (values, (d, min))) in sub_blocks.iter_mut().zip(factors).enumerate() {
        let codes = &block[48 + 32 * (j / 2)..];
        let shift = 4 * (j % 2);
        for ((value, &byte), &fifth) in values.iter_mut().zip(codes).zip(&block[16..48]) {
            let q = (byte >> shift & 15) | (fifth >> j & 1) << 4;
            *value = d * f32::from(q) - min;
        }
    }
}

/// The block whose values are near `values`, which are finite: scales and minima by least squares.
#[inline(always)]
pub(super) fn quantize(values: &[f32; LARGE]) -> [u8; 176] {
    let mut block = [0; 176];
    quantize_groups(values, 31.0, &mut block, |block, j, i, q| {
        block[48 + 32 * (j / 2) + i] |= (q & 15) << (4 * (j % 2));
        block[16 + i] |= (q >> 4) << j;
    });
    block
}
