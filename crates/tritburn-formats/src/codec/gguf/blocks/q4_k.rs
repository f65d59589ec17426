//! Q4_K: f16 d, f16 dmin, 12 bytes of scales and minima of 32 values each, 128 bytes of codes.
//! Value `e` is in byte `32·(e/64) + e%32`, the low half first.
//! `(d · scale) · q - (dmin · minimum)`.

use super::LARGE;
use super::k_scales::{factors_and_minima, quantize_groups};

pub(super) fn block(block: &[u8; 144], out: &mut [f32; LARGE]) {
    let (sub_blocks, _) = out.as_chunks_mut::<32>();
    let factors = factors_and_minima(block);
    for (j, (values, (d, min))) in sub_blocks.iter_mut().zip(factors).enumerate() {
        let codes = &block[16 + 32 * (j / 2)..];
        let shift = 4 * (j % 2);
        for (value, &byte) in values.iter_mut().zip(codes) {
            *value = d * f32::from(byte >> shift & 15) - min;
        }
    }
}

/// The block whose values are near `values`, which are finite: scales and minima by least squares.
#[inline(always)]
pub(super) fn quantize(values: &[f32; LARGE]) -> [u8; 144] {
    let mut block = [0; 144];
    quantize_groups(values, 15.0, &mut block, |block, j, i, q| {
        block[16 + 32 * (j / 2) + i] |= q << (4 * (j % 2));
    });
    block
}
