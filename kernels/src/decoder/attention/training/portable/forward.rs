//! Device code of the forward pass: one pass over the keys (Milakov and Gimelshein,
//! <https://arxiv.org/abs/1805.02867>).

use cubecl::prelude::*;

use super::rows::{RowExtents, add, dot, head_position, load, store, zeros};

/// Initial maximum of a row of scores: below every score, and far from overflow.
const LOWEST: f32 = -1e30;

/// One unit per token and query head. `lines` is the number of lines of a head.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn attend<F: Float, V: Size>(
    qkv: &[Vector<F, V>],
    out: &mut [Vector<F, V>],
    statistics: &mut [f32],
    extents: RowExtents,
    #[comptime] lines: usize,
    #[define(F)] _dtype: ElemType,
) {
    let row = ABSOLUTE_POS;
    if row < extents.batch * extents.heads * extents.length {
        let at = head_position(row, extents.heads, extents.length);
        let key_head = extents.heads + at.head / (extents.heads / extents.kv_heads);
        let token = at.first + at.position;
        let q = load::<F, V>(qkv, token * extents.qkv_stride + at.head * lines, lines);
        let keys = at.first * extents.qkv_stride + key_head * lines;
        let values = keys + extents.kv_heads * lines;

        let mut sums = zeros::<V>(lines);
        let mut top = comptime!(LOWEST).runtime();
        let mut weight = 0.0f32;
        for position in 0..at.position + 1 {
            let step = position * extents.qkv_stride;
            let score = dot::<F, V>(&q, qkv, keys + step, lines) * extents.scale;
            let largest = max(top, score);
            let keep = (top - largest).exp();
            let p = (score - largest).exp();
            top = largest;
            weight = weight * keep + p;
            add::<F, V>(&mut sums, keep, p, qkv, values + step, lines);
        }
        let start = token * extents.out_stride + at.head * lines;
        store::<F, V>(&sums, 1.0f32 / weight, out, start, lines);
        statistics[row] = top + weight.ln();
    }
}
