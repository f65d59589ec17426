//! Device code of the gradients of keys and values.

use cubecl::prelude::*;

use super::rows::{RowExtents, add, dot, head_position, load, store, zeros};

/// One unit per position of a key head. It loops over the queries that attend to the position, from the
/// last one backwards, so that neighbouring units read the same query at the same time.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn key_gradient<F: Float, V: Size>(
    qkv: &[Vector<F, V>],
    statistics: &[f32],
    deltas: &[f32],
    d_out: &[Vector<F, V>],
    d_qkv: &mut [Vector<F, V>],
    extents: RowExtents,
    #[comptime] lines: usize,
    #[define(F)] _dtype: ElemType,
) {
    let row = ABSOLUTE_POS;
    let (heads, kv_heads) = (extents.heads, extents.kv_heads);
    if row < extents.batch * kv_heads * extents.length {
        let at = head_position(row, kv_heads, extents.length);
        let group = heads / kv_heads;
        let token = at.first + at.position;
        let key_column = (heads + at.head) * lines;
        let value_column = key_column + kv_heads * lines;
        let start = token * extents.qkv_stride;
        let k = load::<F, V>(qkv, start + key_column, lines);
        let v = load::<F, V>(qkv, start + value_column, lines);
        let mut dk = zeros::<V>(lines);
        let mut dv = zeros::<V>(lines);
        for member in 0..group {
            let head = at.head * group + member;
            let column = head * lines;
            // Row of the statistics of the sequence's first token and this head.
            let first_row = (at.first * heads) + head * extents.length;
            for back in 0..extents.length - at.position {
                let query = extents.length - 1 - back;
                let from = (at.first + query) * extents.qkv_stride + column;
                let dy = (at.first + query) * extents.d_out_stride + column;
                let score = dot::<F, V>(&k, qkv, from, lines) * extents.scale;
                let p = (score - statistics[first_row + query]).exp();
                let dp = dot::<F, V>(&v, d_out, dy, lines);
                let ds = p * (dp - deltas[first_row + query]);
                add::<F, V>(&mut dv, 1.0f32, p, d_out, dy, lines);
                add::<F, V>(&mut dk, 1.0f32, ds, qkv, from, lines);
            }
        }
        let start = token * extents.d_qkv_stride;
        store::<F, V>(&dk, extents.scale, d_qkv, start + key_column, lines);
        store::<F, V>(&dv, 1.0f32, d_qkv, start + value_column, lines);
    }
}
