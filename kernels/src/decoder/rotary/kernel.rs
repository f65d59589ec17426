//! Device code: each unit rotates a line of a head with the line half a head further.

use cubecl::prelude::*;

use crate::decoder::paging::block_of;

/// Runtime sizes; lines are of `V` elements.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct RotaryExtents {
    /// Tokens.
    pub tokens: usize,
    /// Query heads.
    pub heads: usize,
    /// Rows of the cache.
    pub batch: usize,
    /// Positions of a row of the cache.
    pub positions: usize,
    /// Blocks of the cache.
    pub blocks: usize,
    /// Rows of the table.
    pub table_rows: usize,
    /// Row stride of qkv, in lines.
    pub qkv_stride: usize,
    /// Row stride of q, in lines.
    pub q_stride: usize,
    /// Factor of q.
    pub q_scale: f32,
}

/// One unit per (token, head, line of half a head); query heads come before key and value heads.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn rotary<F: Float, V: Size, A: Size>(
    qkv: &[Vector<F, V>],
    table: &[Vector<f32, A>],
    rows: &[u32],
    positions: &[u32],
    q: &mut [Vector<F, V>],
    keys: &mut [Vector<F, V>],
    values: &mut [Vector<F, V>],
    table_of_blocks: &[u32],
    extents: RotaryExtents,
    #[comptime] kv_heads: usize,
    #[comptime] half: usize,
    #[comptime] block: Option<usize>,
    #[define(F)] _dtype: ElemType,
) {
    let all = extents.heads + comptime!(2 * kv_heads);
    let per_token = all * half;
    let token = ABSOLUTE_POS / per_token;
    if token < extents.tokens {
        let item = ABSOLUTE_POS % per_token;
        let (head, line) = (item / half, item % half);
        let start = token * extents.qkv_stride + head * comptime!(2 * half) + line;
        let low = qkv[start];
        let high = qkv[start + half];
        let position = usize::cast_from(positions[token]);
        let row = usize::cast_from(rows[token]);
        let inside = position < extents.positions && row < extents.batch;
        // The row, or the block that has the position, and the position in it.
        let mut unit = row;
        let mut within = position;
        let mut stored = inside;
        if comptime!(block.is_some()) {
            let size = comptime!(block.unwrap());
            if inside {
                unit = block_of(table_of_blocks, row, position, extents.positions, size);
            }
            within = position % size;
            stored = inside && unit < extents.blocks;
        }
        let apart = if comptime!(block.is_some()) {
            comptime!(block.unwrap()).runtime()
        } else {
            extents.positions
        };

        let key = head - min(head, extents.heads);
        if key >= kv_heads {
            if stored {
                let head = unit * kv_heads + key - kv_heads;
                let to = (head * apart + within) * comptime!(2 * half) + line;
                values[to] = low;
                values[to + half] = high;
            }
        } else {
            let is_query = head < extents.heads;
            let scale = select(is_query, extents.q_scale, 1.0f32);
            let width = V::value();
            let table_width = A::value();
            let per_line = comptime!(width / table_width);
            let at = min(position, extents.table_rows - 1) * comptime!(2 * half * per_line)
                + line * per_line;
            let mut new_low = Vector::<F, V>::empty();
            let mut new_high = Vector::<F, V>::empty();
            #[unroll]
            for i in 0..per_line {
                let cos = table[at + i];
                let sin = table[at + comptime!(half * per_line) + i];
                #[unroll]
                for j in 0..table_width {
                    let e = comptime!(i * table_width + j);
                    let (a, b) = (
                        f32::cast_from(low.extract(e)),
                        f32::cast_from(high.extract(e)),
                    );
                    let (c, s) = (cos.extract(j), sin.extract(j));
                    new_low.insert(e, F::cast_from((a * c - b * s) * scale));
                    new_high.insert(e, F::cast_from((b * c + a * s) * scale));
                }
            }
            if is_query {
                let to = token * extents.q_stride + head * comptime!(2 * half) + line;
                q[to] = new_low;
                q[to + half] = new_high;
            } else if stored {
                let head = unit * kv_heads + key;
                let to = (head * apart + within) * comptime!(2 * half) + line;
                keys[to] = new_low;
                keys[to + half] = new_high;
            }
        }
    }
}
