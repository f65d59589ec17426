//! Q5_0: f16 d, u32 of fifth bits (value `j` at bit `j`), then 16 bytes of the lower four as in
//! Q4_0. `d · (q - 16)`.

use super::{SMALL, half_at, word_at};

pub(super) fn block(block: &[u8; 22], out: &mut [f32; SMALL]) {
    let (d, fifth) = (half_at(block, 0), word_at(block, 2));
    for (j, value) in out.iter_mut().enumerate() {
        let nibble = block[6 + j % 16] >> (4 * (j / 16)) & 15;
        let q = nibble | ((fifth >> j & 1) as u8) << 4;
        *value = f32::from(q as i8 - 16) * d;
    }
}
