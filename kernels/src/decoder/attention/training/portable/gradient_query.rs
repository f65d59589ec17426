//! Device code of the gradient of the queries.

use cubecl::prelude::*;

use super::rows::{RowExtents, add, dot, head_position, load, store, zeros};

/// One unit per token and query head. It also stores its row's `Σ out · d_out` in `deltas`, which the
/// softmax's gradient subtracts from the gradient of every weight of the row.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn query_gradient<F: Float, V: Size>(
    qkv: &[Vector<F, V>],
    out: &[Vector<F, V>],
    statistics: &[f32],
    d_out: &[Vector<F, V>],
    d_qkv: &mut [Vector<F, V>],
    deltas: &mut [f32],
    extents: RowExtents,
    #[comptime] lines: usize,
    #[define(F)] _dtype: ElemType,
) {
    let row = ABSOLUTE_POS;
    if row < extents.batch * extents.heads * extents.length {
        let at = head_position(row, extents.heads, extents.length);
        let key_head = extents.heads + at.head / (extents.heads / extents.kv_heads);
        let token = at.first + at.position;
        let column = at.head * lines;
        let q = load::<F, V>(qkv, token * extents.qkv_stride + column, lines);
        let dy = load::<F, V>(d_out, token * extents.d_out_stride + column, lines);
        let delta = dot::<F, V>(&dy, out, token * extents.out_stride + column, lines);
        deltas[row] = delta;
        let keys = at.first * extents.qkv_stride + key_head * lines;
        let values = keys + extents.kv_heads * lines;

        let mut sums = zeros::<V>(lines);
        for position in 0..at.position + 1 {
            let step = position * extents.qkv_stride;
            let score = dot::<F, V>(&q, qkv, keys + step, lines) * extents.scale;
            let p = (score - statistics[row]).exp();
            let dp = dot::<F, V>(&dy, qkv, values + step, lines);
            add::<F, V>(&mut sums, 1.0f32, p * (dp - delta), qkv, keys + step, lines);
        }
        let start = token * extents.d_qkv_stride + column;
        store::<F, V>(&sums, extents.scale, d_qkv, start, lines);
    }
}
