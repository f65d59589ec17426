//! Q8_0: f16 d, then 32 signed bytes. `d · q`.

use super::{SMALL, half_at};

pub(super) fn block(block: &[u8; 34], out: &mut [f32; SMALL]) {
    let d = half_at(block, 0);
    for (value, &q) in out.iter_mut().zip(&block[2..]) {
        *value = f32::from(q as i8) * d;
    }
}
