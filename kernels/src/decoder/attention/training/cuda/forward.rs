//! Device code of the forward pass.

use cubecl::prelude::*;

use super::base::{FlashPlan, STAGES};
use super::products::{LOWEST, Side, add_weighted, mask, scores, store_block, to_left, zeros};
use super::tile::{FlashExtents, copy_stage, load_rows, quad_max, quad_sum, source, work};
use crate::device_code::ptx::{
    copy_async_commit, copy_async_wait, exp2, global_address, shared_address,
};

/// One cube per `plan.rows()` tokens of a query head. Tiles of keys and values pass through a ring.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn flash_forward(
    qkv: &[u32],
    out: &mut [u32],
    statistics: &mut [f32],
    extents: FlashExtents,
    #[comptime] plan: FlashPlan,
) {
    let (rows, blocks, span) = comptime!((plan.rows(), plan.blocks, plan.span));
    let length = extents.length;
    let tiles = (length + comptime!(rows - 1)) / rows;
    let pairs = extents.batch * extents.heads;
    if CUBE_POS >= tiles * pairs {
        terminate!();
    }
    // The last tokens attend to the most keys, so their cubes start first.
    let work = work(tiles, pairs, extents.section);
    let first = (tiles - 1 - work.tile) * rows;
    let token = work.pair / extents.heads * length;
    let head = work.pair % extents.heads;
    let key_head = extents.heads + head / (extents.heads / extents.kv_heads);

    let shared =
        Shared::<[u32]>::new_aligned_slice(comptime!(STAGES * plan.stage_bytes(0) / 4), 128usize);
    let ring = shared_address::<u32>(&shared);
    let base = global_address::<u32>(qkv);
    let row_start = token * extents.qkv_stride;
    let key_start = row_start + key_head * comptime!(plan.dim / 2);
    let value_start = key_start + extents.kv_heads * comptime!(plan.dim / 2);
    let keys = source(base, key_start, extents.qkv_stride, plan);
    let values = source(base, value_start, extents.qkv_stride, plan);
    copy_stage(&keys, &values, 0usize.runtime(), length, ring, plan);
    copy_async_commit();

    let unit = UNIT_POS as usize;
    let (warp, lane) = (unit / 32, unit % 32);
    let warp_first = first + warp * comptime!(16 * blocks);
    let warp_last = warp_first + comptime!(16 * blocks - 1);
    let start = row_start + head * comptime!(plan.dim / 2);
    let queries = load_rows(qkv, start, extents.qkv_stride, warp_first, length, plan);
    // Includes log₂ e, so that the softmax uses `exp2`.
    let scale = extents.scale * comptime!(core::f32::consts::LOG2_E);

    let mut sums = zeros(comptime!(blocks * plan.dim / 8));
    let mut tops = Array::<f32>::new(comptime!(2 * blocks));
    let mut weights = Array::<f32>::new(comptime!(2 * blocks));
    #[unroll]
    for i in 0..comptime!(2 * blocks) {
        tops[i] = comptime!(LOWEST).runtime();
        weights[i] = 0.0f32;
    }

    let keys_of_cube = min(first + rows, length);
    let steps = (keys_of_cube + comptime!(plan.tile - 1)) / comptime!(plan.tile);
    let mut step = 0usize.runtime();
    while step < steps {
        copy_async_wait(0usize);
        // Every unit's copies of this tile are complete, and no unit reads the previous tile any more.
        sync_cube();
        let from = step * comptime!(plan.tile);
        if step + 1 < steps {
            let next =
                ring + u32::cast_from((step + 1) % STAGES) * comptime!(plan.stage_bytes(0) as u32);
            let of = from + comptime!(plan.tile);
            copy_stage(&keys, &values, of, length, next, plan);
        }
        copy_async_commit();
        let here = ring + u32::cast_from(step % STAGES) * comptime!(plan.stage_bytes(0) as u32);
        #[unroll]
        for part in 0..comptime!(plan.tile / span) {
            let position = from + comptime!(part * span);
            // Spans that start after this warp's last row are masked entirely.
            if position <= warp_last {
                let offset = comptime!((part * span * plan.row_bytes()) as u32);
                let mut held = scores(&queries, here + offset, plan);
                if position + comptime!(span - 1) > warp_first {
                    mask(&mut held, warp_first, position, Side::Queries, plan);
                }
                #[unroll]
                for block in 0..blocks {
                    let mut low = tops[comptime!(2 * block)];
                    let mut high = tops[comptime!(2 * block + 1)];
                    #[unroll]
                    for n in 0..comptime!(span / 8) {
                        let sum = held[comptime!(block * span / 8 + n)];
                        low = max(low, max(sum.extract(0usize), sum.extract(1usize)));
                        high = max(high, max(sum.extract(2usize), sum.extract(3usize)));
                    }
                    low = quad_max(low);
                    high = quad_max(high);
                    let keep_low = exp2((tops[comptime!(2 * block)] - low) * scale);
                    let keep_high = exp2((tops[comptime!(2 * block + 1)] - high) * scale);
                    tops[comptime!(2 * block)] = low;
                    tops[comptime!(2 * block + 1)] = high;
                    let shift_low = low * scale;
                    let shift_high = high * scale;
                    let mut total_low = weights[comptime!(2 * block)] * keep_low;
                    let mut total_high = weights[comptime!(2 * block + 1)] * keep_high;
                    #[unroll]
                    for n in 0..comptime!(span / 8) {
                        let at = comptime!(block * span / 8 + n);
                        let sum = held[at];
                        // A vector, because its elements are values. The result of `gpu_asm!` is a
                        // variable, whose address another `gpu_asm!` would take.
                        let mut p = Vector::<f32, Const<4>>::empty();
                        p.insert(0usize, exp2(sum.extract(0usize) * scale - shift_low));
                        p.insert(1usize, exp2(sum.extract(1usize) * scale - shift_low));
                        p.insert(2usize, exp2(sum.extract(2usize) * scale - shift_high));
                        p.insert(3usize, exp2(sum.extract(3usize) * scale - shift_high));
                        total_low += p.extract(0usize) + p.extract(1usize);
                        total_high += p.extract(2usize) + p.extract(3usize);
                        held[at] = p;
                    }
                    weights[comptime!(2 * block)] = total_low;
                    weights[comptime!(2 * block + 1)] = total_high;
                    #[unroll]
                    for i in 0..comptime!(plan.dim / 8) {
                        let at = comptime!(block * plan.dim / 8 + i);
                        let sum = sums[at];
                        let mut scaled = Vector::<f32, Const<4>>::empty();
                        scaled.insert(0usize, sum.extract(0usize) * keep_low);
                        scaled.insert(1usize, sum.extract(1usize) * keep_low);
                        scaled.insert(2usize, sum.extract(2usize) * keep_high);
                        scaled.insert(3usize, sum.extract(3usize) * keep_high);
                        sums[at] = scaled;
                    }
                }
                let left = to_left(&held, plan);
                let tile = here + comptime!(plan.tile_bytes() as u32) + offset;
                add_weighted(&left, tile, &mut sums, plan);
            }
        }
        step += 1usize;
    }

    let out_start = token * extents.out_stride + head * comptime!(plan.dim / 2);
    let statistic = (token * extents.heads) + head * length;
    #[unroll]
    for block in 0..blocks {
        let low = quad_sum(weights[comptime!(2 * block)]);
        let high = quad_sum(weights[comptime!(2 * block + 1)]);
        store_block(
            &sums,
            1.0f32 / low,
            1.0f32 / high,
            out,
            out_start,
            extents.out_stride,
            warp_first,
            length,
            block,
            plan,
        );
        let row = warp_first + comptime!(16 * block) + lane / 4;
        if lane % 4 == 0 {
            if row < length {
                statistics[statistic + row] = tops[comptime!(2 * block)] * extents.scale + low.ln();
            }
            if row + 8 < length {
                statistics[statistic + row + 8] =
                    tops[comptime!(2 * block + 1)] * extents.scale + high.ln();
            }
        }
    }
}
