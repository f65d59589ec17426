//! Q6_K: 128 bytes of the lower four bits, 64 bytes of the upper two, 16 signed scales of 16 values
//! each, f16 d. Of the values `128·n + e`: the lower bits are in byte `64·n + e%64`, the low half for
//! `e < 64`; the upper ones in byte `32·n + e%32` at bit `2·(e/32)`. `(d · scale) · (q - 32)`.

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
