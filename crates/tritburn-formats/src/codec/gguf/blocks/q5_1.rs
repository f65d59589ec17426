//! Q5_1: f16 d, f16 m, u32 of fifth bits, then 16 bytes, as in Q5_0. `d · q + m`.

use super::{SMALL, half_at, word_at};

pub(super) fn block(block: &[u8; 24], out: &mut [f32; SMALL]) {
    let (d, m, fifth) = (half_at(block, 0), half_at(block, 2), word_at(block, 4));
    for (j, value) in out.iter_mut().enumerate() {
        let nibble = block[8 + j % 16] >> (4 * (j / 16)) & 15;
        let q = nibble | ((fifth >> j & 1) as u8) << 4;
        *value = f32::from(q) * d + m;
    }
}
