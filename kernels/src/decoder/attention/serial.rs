//! Attention of one token and one query head per unit, for devices without planes of 32.

use cubecl::prelude::*;

use super::planes::{AttentionExtents, LOWEST};
use crate::decoder::paging::{head_place, place};

/// One unit per token and query head. `lines` is the number of lines of a head.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn attend_serial<F: Float, V: Size>(
    q: &[Vector<F, V>],
    keys: &[Vector<F, V>],
    values: &[Vector<F, V>],
    rows: &[u32],
    positions: &[u32],
    table: &[u32],
    out: &mut [Vector<F, V>],
    extents: AttentionExtents,
    #[comptime] lines: usize,
    #[comptime] block: Option<usize>,
    #[define(F)] _dtype: ElemType,
) {
    let token = ABSOLUTE_POS / extents.heads;
    if token < extents.tokens {
        let head = ABSOLUTE_POS % extents.heads;
        let key_head = head / (extents.heads / extents.kv_heads);
        let row = min(usize::cast_from(rows[token]), extents.batch - 1);
        let len = min(usize::cast_from(positions[token]), extents.positions - 1) + 1;
        let q_start = token * extents.q_stride + head * lines;
        let of = head_place(
            row,
            key_head,
            extents.kv_heads,
            extents.positions,
            extents.blocks,
        );

        let mut acc = Array::<Vector<f32, V>>::new(lines);
        for i in 0..lines {
            acc[i] = Vector::new(0.0f32);
        }
        let mut top = comptime!(LOWEST).runtime();
        let mut weight = 0.0f32;
        for position in 0..len {
            let start = place(&of, table, position, block) * lines;
            let mut score = 0.0f32;
            for i in 0..lines {
                let a = q[q_start + i];
                let b = keys[start + i];
                #[unroll]
                for j in 0..V::value() {
                    score += f32::cast_from(a.extract(j)) * f32::cast_from(b.extract(j));
                }
            }
            score *= extents.scale;
            let largest = max(top, score);
            let keep = (top - largest).exp();
            let p = (score - largest).exp();
            top = largest;
            weight = weight * keep + p;
            for i in 0..lines {
                let value = Vector::<f32, V>::cast_from(values[start + i]);
                acc[i] = acc[i] * Vector::new(keep) + value * Vector::new(p);
            }
        }
        let to = token * extents.out_stride + head * lines;
        for i in 0..lines {
            out[to + i] = Vector::cast_from(acc[i] / Vector::new(weight));
        }
    }
}
