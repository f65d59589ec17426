//! Q4_0: f16 d, then 16 bytes; value `j` in the low half of byte `j`, value `j + 16` in the high
//! half. `d · (q - 8)`.

use super::{SMALL, half_at};

pub(super) fn block(block: &[u8; 18], out: &mut [f32; SMALL]) {
    let d = half_at(block, 0);
    let (low, high) = out.split_at_mut(SMALL / 2);
    for ((low, high), &byte) in low.iter_mut().zip(high).zip(&block[2..]) {
        *low = f32::from((byte & 15) as i8 - 8) * d;
        *high = f32::from((byte >> 4) as i8 - 8) * d;
    }
}
