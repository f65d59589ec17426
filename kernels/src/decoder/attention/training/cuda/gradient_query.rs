//! Device code of the gradient of the queries.

use cubecl::prelude::*;

use super::base::{FlashPlan, STAGES};
use super::products::{Side, add_weighted, mask, scores, store_block, to_left, zeros};
use super::tile::{FlashExtents, copy_stage, load_rows, quad_sum, source, work};
use crate::device_code::MmaType;
use crate::device_code::ptx::lines::{high, low};
use crate::device_code::ptx::{
    copy_async_commit, copy_async_wait, exp2, global_address, shared_address,
};
use crate::operand::FloatType;

/// One cube per `plan.rows()` tokens of a query head. Tiles of keys and values pass through a ring.
///
/// The kernel stores two numbers per row in `rows`, for the kernel of the keys' gradients: the row's
/// statistic times log₂ e, and its delta `Σ out · d_out`, which the softmax's gradient subtracts from the
/// gradient of every weight of the row.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn flash_query_gradient(
    qkv: &[u32],
    out: &[u32],
    statistics: &[f32],
    d_out: &[u32],
    d_qkv: &mut [u32],
    rows: &mut [f32],
    extents: FlashExtents,
    #[comptime] plan: FlashPlan,
) {
    let (blocks, span) = comptime!((plan.blocks, plan.span));
    let length = extents.length;
    let tiles = (length + comptime!(plan.rows() - 1)) / comptime!(plan.rows());
    let pairs = extents.batch * extents.heads;
    if CUBE_POS >= tiles * pairs {
        terminate!();
    }
    // The last tokens attend to the most keys, so their cubes start first.
    let work = work(tiles, pairs, extents.section);
    let first = (tiles - 1 - work.tile) * comptime!(plan.rows());
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
    let column = head * comptime!(plan.dim / 2);
    let queries = load_rows(
        qkv,
        row_start + column,
        extents.qkv_stride,
        warp_first,
        length,
        plan,
    );
    let dy = load_rows(
        d_out,
        token * extents.d_out_stride + column,
        extents.d_out_stride,
        warp_first,
        length,
        plan,
    );
    let scale = extents.scale * comptime!(core::f32::consts::LOG2_E);
    let y = load_rows(
        out,
        token * extents.out_stride + column,
        extents.out_stride,
        warp_first,
        length,
        plan,
    );
    let statistic = token * extents.heads + head * length;
    let mut shifts = Array::<f32>::new(comptime!(2 * blocks));
    let mut deltas = Array::<f32>::new(comptime!(2 * blocks));
    #[unroll]
    for i in 0..comptime!(2 * blocks) {
        // Registers 0 and 2 of a block hold its lower 8 rows, registers 1 and 3 its upper 8.
        let (block, half) = comptime!((i / 2, i % 2));
        let mut sum = 0.0f32;
        #[unroll]
        for j in 0..comptime!(plan.dim / 8) {
            let at = comptime!(block * plan.dim / 4 + 2 * j + half);
            sum += product(y[at], dy[at], comptime!(plan.types));
        }
        let sum = quad_sum(sum);
        let row = warp_first + comptime!(16 * block + 8 * half) + lane / 4;
        let at = statistic + min(row, length - 1);
        let shift = statistics[at] * comptime!(core::f32::consts::LOG2_E);
        if lane % 4 == 0 && row < length {
            rows[2 * at] = shift;
            rows[2 * at + 1] = sum;
        }
        shifts[i] = shift;
        deltas[i] = sum;
    }

    let mut sums = zeros(comptime!(blocks * plan.dim / 8));
    let keys_of_cube = min(first + comptime!(plan.rows()), length);
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
                let tile = here + comptime!((part * span * plan.row_bytes()) as u32);
                let mut held = scores(&queries, tile, plan);
                let dp = scores(&dy, tile + comptime!(plan.tile_bytes() as u32), plan);
                if position + comptime!(span - 1) > warp_first {
                    mask(&mut held, warp_first, position, Side::Queries, plan);
                }
                #[unroll]
                for i in 0..comptime!(blocks * span / 8) {
                    let sum = held[i];
                    let gradient = dp[i];
                    let mut ds = Vector::<f32, Const<4>>::empty();
                    #[unroll]
                    for e in 0..4usize {
                        // Index of this lane's lower or upper row of the block.
                        let of = comptime!(2 * (i / (span / 8)) + e / 2);
                        let p = exp2(sum.extract(e) * scale - shifts[of]);
                        ds.insert(e, p * (gradient.extract(e) - deltas[of]));
                    }
                    held[i] = ds;
                }
                let left = to_left(&held, plan);
                add_weighted(&left, tile, &mut sums, plan);
            }
        }
        step += 1usize;
    }

    let to = token * extents.d_qkv_stride + column;
    #[unroll]
    for block in 0..blocks {
        store_block(
            &sums,
            extents.scale,
            extents.scale,
            d_qkv,
            to,
            extents.d_qkv_stride,
            warp_first,
            length,
            block,
            plan,
        );
    }
}

/// The dot product of two pairs of half-precision elements.
#[cube]
fn product(a: u32, b: u32, #[comptime] types: MmaType) -> f32 {
    let dtype = comptime!(match types {
        MmaType::F16 => FloatType::F16,
        _ => FloatType::BF16,
    });
    low(a, dtype) * low(b, dtype) + high(a, dtype) * high(b, dtype)
}
