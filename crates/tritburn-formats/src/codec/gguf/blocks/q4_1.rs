//! Q4_1: f16 d, f16 m, then 16 bytes as in Q4_0. `d · q + m`.

use super::{SMALL, half_at};

pub(super) fn block(block: &[u8; 20], out: &mut [f32; SMALL]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    let (low, high) = out.split_at_mut(SMALL / 2);
    for ((low, high), &byte) in low.iter_mut().zip(high).zip(&block[4..]) {
        *low = f32::from(byte & 15) * d + m;
        *high = f32::from(byte >> 4) * d + m;
    }
}
