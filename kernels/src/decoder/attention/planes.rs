//! Attention of one token and the query heads of one key head, on planes of 32. The lanes of a plane
//! are divided between positions; each lane holds one line of its position's key and value.

use cubecl::prelude::*;

use super::base::DecodePlan;
use super::combine::{combine_planes, combine_splits};
use crate::decoder::paging::{head_place, place};

/// Runtime sizes.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct AttentionExtents {
    /// Tokens.
    pub tokens: usize,
    /// Query heads.
    pub heads: usize,
    /// Key heads.
    pub kv_heads: usize,
    /// Rows of the cache.
    pub batch: usize,
    /// Positions of a row of the cache.
    pub positions: usize,
    /// Blocks of the cache.
    pub blocks: usize,
    /// Lines between tokens of q.
    pub q_stride: usize,
    /// Row stride of the output, in lines.
    pub out_stride: usize,
    /// Cubes that divide the positions of a head.
    pub splits: usize,
    /// Factor of the scores.
    pub scale: f32,
}

/// Score of a masked position: below every other, and far from overflow.
pub(crate) const LOWEST: f32 = -1e30;

/// One cube per token, tile of the query heads of a key head, and share of the positions.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn attend_planes<F: Float, V: Size>(
    q: &[Vector<F, V>],
    keys: &[Vector<F, V>],
    values: &[Vector<F, V>],
    rows: &[u32],
    positions: &[u32],
    table: &[u32],
    out: &mut [F],
    sums: &mut [f32],
    counters: &mut [Atomic<u32>],
    extents: AttentionExtents,
    #[comptime] plan: DecodePlan,
    #[define(F)] _dtype: ElemType,
) {
    let group = comptime!(plan.group);
    let lanes = comptime!(plan.lanes());
    let width = comptime!(plan.width);
    let ahead = comptime!(plan.ahead);
    let per_key = extents.heads / extents.kv_heads;
    let tiles = (per_key + comptime!(group - 1)) / group;

    let split = CUBE_POS % extents.splits;
    let slot = CUBE_POS / extents.splits;
    let tile = slot % tiles;
    let key_head = (slot / tiles) % extents.kv_heads;
    let token = slot / tiles / extents.kv_heads;
    if token < extents.tokens {
        let row = min(usize::cast_from(rows[token]), extents.batch - 1);
        let len = min(usize::cast_from(positions[token]), extents.positions - 1) + 1;
        // Short rows leave the other cubes without work.
        let wanted = (len + comptime!(plan.share - 1)) / comptime!(plan.share);
        let active = min(wanted, extents.splits);
        if split < active {
            // `len / active`, rounded up; `len` is at least 1.
            let chunk = 1 + (len - 1) / active;
            let start = min(split * chunk, len);
            let end = min(start + chunk, len);

            let unit = UNIT_POS as usize;
            let part = unit % lanes;
            let member = unit / lanes;
            let head = key_head * per_key + tile * group;

            let mut query = Array::<f32>::new(comptime!(group * width));
            let mut acc = Array::<f32>::new(comptime!(group * width));
            let mut top = Array::<f32>::new(group);
            let mut weight = Array::<f32>::new(group);
            #[unroll]
            for h in 0..group {
                // Query heads past the key head's last repeat that one.
                let of = min(head + h, key_head * per_key + per_key - 1);
                let line = q[token * extents.q_stride + of * lanes + part];
                #[unroll]
                for j in 0..width {
                    query[comptime!(h * width + j)] =
                        f32::cast_from(line.extract(j)) * extents.scale;
                    acc[comptime!(h * width + j)] = 0.0f32;
                }
                top[h] = comptime!(LOWEST).runtime();
                weight[h] = 0.0f32;
            }

            let of = head_place(
                row,
                key_head,
                extents.kv_heads,
                extents.positions,
                extents.blocks,
            );
            let mut first = start;
            while first < end {
                let mut k = Array::<Vector<F, V>>::new(ahead);
                let mut v = Array::<Vector<F, V>>::new(ahead);
                #[unroll]
                for a in 0..ahead {
                    let position = first + comptime!(a * plan.positions()) + member;
                    let at = min(position, end - 1);
                    let at = place(&of, table, at, comptime!(plan.block)) * lanes + part;
                    k[a] = keys[at];
                    v[a] = values[at];
                }
                #[unroll]
                for h in 0..group {
                    let mut scores = Array::<f32>::new(ahead);
                    let mut largest = top[h];
                    #[unroll]
                    for a in 0..ahead {
                        let mut score = 0.0f32;
                        #[unroll]
                        for j in 0..width {
                            score +=
                                query[comptime!(h * width + j)] * f32::cast_from(k[a].extract(j));
                        }
                        #[unroll]
                        for step in 0..comptime!(lanes.ilog2()) {
                            score += plane_shuffle_xor(score, comptime!(1u32 << step).runtime());
                        }
                        let position = first + comptime!(a * plan.positions()) + member;
                        scores[a] = select(position < end, score, comptime!(LOWEST).runtime());
                        largest = max(largest, scores[a]);
                    }
                    let keep = (top[h] - largest).exp();
                    top[h] = largest;
                    weight[h] *= keep;
                    #[unroll]
                    for j in 0..width {
                        acc[comptime!(h * width + j)] *= keep;
                    }
                    #[unroll]
                    for a in 0..ahead {
                        let position = first + comptime!(a * plan.positions()) + member;
                        let p = select(position < end, (scores[a] - largest).exp(), 0.0f32);
                        weight[h] += p;
                        #[unroll]
                        for j in 0..width {
                            acc[comptime!(h * width + j)] += p * f32::cast_from(v[a].extract(j));
                        }
                    }
                }
                first += comptime!(ahead * plan.positions());
            }

            let mut shared = Shared::<[f32]>::new_slice(comptime!(plan.shared_words()));
            let target = token * extents.out_stride + head * comptime!(plan.dim);
            let live = min(per_key - tile * group, group);
            let mut alone = true.runtime();
            if comptime!(plan.split) {
                alone = active == 1usize;
            }
            let slot_start = CUBE_POS * comptime!(DecodePlan::slot_words(group, plan.dim));
            combine_planes::<F>(
                &mut shared,
                &acc,
                &top,
                &weight,
                out,
                target,
                live,
                sums,
                slot_start,
                alone,
                plan,
            );
            if comptime!(plan.split) {
                let mut arrived = Shared::<u32>::new();
                // Makes this cube's sums visible to the cube that finishes last.
                sync_storage();
                if unit == 0 && !alone {
                    *arrived = counters[slot].fetch_add(1u32);
                }
                sync_storage();
                if !alone && *arrived + 1 == u32::cast_from(active) {
                    if unit == 0 {
                        counters[slot].store(0u32);
                    }
                    combine_splits::<F>(
                        &mut shared,
                        out,
                        target,
                        live,
                        sums,
                        slot * extents.splits,
                        active,
                        plan,
                    );
                }
            }
        }
    }
}
