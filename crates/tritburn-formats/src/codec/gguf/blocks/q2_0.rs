//! Q2_0 and PQ2_0: f16 d, then codes in order, four a byte, the first in the low bits. `d · (q - 1)`:
//! unlike the ternary weights of [`q2_0`](super::super::q2_0), floats may have the code 3.

use super::half_at;

pub(super) fn block<const BYTES: usize, const VALUES: usize>(
    block: &[u8; BYTES],
    out: &mut [f32; VALUES],
) {
    let d = half_at(block, 0);
    let (fours, _) = out.as_chunks_mut::<4>();
    for (values, &byte) in fours.iter_mut().zip(&block[2..]) {
        for (i, value) in values.iter_mut().enumerate() {
            *value = f32::from((byte >> (2 * i) & 3) as i8 - 1) * d;
        }
    }
}
