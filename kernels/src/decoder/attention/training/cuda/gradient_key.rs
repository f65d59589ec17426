//! Device code of the gradients of keys and values.

use cubecl::prelude::*;

use super::base::{FlashPlan, STAGES};
use super::products::{
    Side, add_weighted, mask, scores, scores_of_tile, store_block, to_left, zeros,
};
use super::tile::{
    FlashExtents, Source, copy_async_pair, copy_rows, copy_stage, load_left, source, work,
};
use crate::device_code::ptx::{
    copy_async_commit, copy_async_wait, exp2, global_address, load_line, shared_address,
};

/// One cube per `plan.rows()` positions of a key head. A ring brings tiles of the queries that attend to
/// them, of every query head of the group, with the gradients of their outputs and the two numbers per
/// query that the query kernel stored in `rows`.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn flash_key_gradient(
    qkv: &[u32],
    d_out: &[u32],
    rows: &[f32],
    d_qkv: &mut [u32],
    extents: FlashExtents,
    #[comptime] plan: FlashPlan,
) {
    let (blocks, span) = comptime!((plan.blocks, plan.span));
    let length = extents.length;
    let tiles = (length + comptime!(plan.rows() - 1)) / comptime!(plan.rows());
    let pairs = extents.batch * extents.kv_heads;
    if CUBE_POS >= tiles * pairs {
        terminate!();
    }
    // The first positions are attended to by the most queries, so their cubes start first.
    let work = work(tiles, pairs, extents.section);
    let first = work.tile * comptime!(plan.rows());
    let token = work.pair / extents.kv_heads * length;
    let key_head = work.pair % extents.kv_heads;
    let group = extents.heads / extents.kv_heads;

    let shared_words = comptime!((plan.own_bytes() + STAGES * plan.stage_bytes(8)) / 4);
    let shared = Shared::<[u32]>::new_aligned_slice(shared_words, 128usize);
    let own = shared_address::<u32>(&shared);
    let own_values = own + comptime!((plan.own_bytes() / 2) as u32);
    let ring = own + comptime!(plan.own_bytes() as u32);
    let base = global_address::<u32>(qkv);
    let row_start = token * extents.qkv_stride;
    let key_column = (extents.heads + key_head) * comptime!(plan.dim / 2);
    let value_column = key_column + extents.kv_heads * comptime!(plan.dim / 2);
    let keys = source(base, row_start + key_column, extents.qkv_stride, plan);
    let values = source(base, row_start + value_column, extents.qkv_stride, plan);
    copy_rows(&keys, first, length, own, comptime!(plan.rows()), plan);
    copy_rows(
        &values,
        first,
        length,
        own_values,
        comptime!(plan.rows()),
        plan,
    );

    // Column of the group's first query head, and the distances to the other heads.
    let column = key_head * group * comptime!(plan.dim / 2);
    let queries = QueryRows {
        q: source(base, row_start + column, extents.qkv_stride, plan),
        dy: source(
            global_address::<u32>(d_out),
            token * extents.d_out_stride + column,
            extents.d_out_stride,
            plan,
        ),
        rows: global_address::<f32>(rows)
            + u64::cast_from(token * extents.heads + key_head * group * length) * 8u64,
        length,
    };
    let query_first = first / comptime!(plan.tile);
    let query_tiles = (length + comptime!(plan.tile - 1)) / comptime!(plan.tile) - query_first;
    let steps = group * query_tiles;
    copy_queries(&queries, 0usize.runtime(), query_first, ring, plan);
    copy_async_commit();

    let unit = UNIT_POS as usize;
    let (warp, lane) = (unit / 32, unit % 32);
    let warp_first = first + warp * comptime!(16 * blocks);
    let warp_last = warp_first + comptime!(16 * blocks - 1);
    let scale = extents.scale * comptime!(core::f32::consts::LOG2_E);
    let own_rows = u32::cast_from(warp * comptime!(16 * blocks * plan.row_bytes()));
    let (k_rows, v_rows) = (own + own_rows, own_values + own_rows);

    let held = comptime!(if plan.held { plan.dim / 32 } else { 0 });
    copy_async_wait(0usize);
    sync_cube();
    let k = load_left(k_rows, 0usize, held, plan);
    let v = load_left(v_rows, 0usize, held, plan);
    let mut dk = zeros(comptime!(blocks * plan.dim / 8));
    let mut dv = zeros(comptime!(blocks * plan.dim / 8));
    let mut step = 0usize.runtime();
    while step < steps {
        copy_async_wait(0usize);
        // Every unit's copies of this tile are complete, and no unit reads the previous tile any more.
        sync_cube();
        if step + 1 < steps {
            let next =
                ring + u32::cast_from((step + 1) % STAGES) * comptime!(plan.stage_bytes(8) as u32);
            let tile = query_first + (step + 1) % query_tiles;
            copy_queries(&queries, (step + 1) / query_tiles, tile, next, plan);
        }
        copy_async_commit();
        let here = ring + u32::cast_from(step % STAGES) * comptime!(plan.stage_bytes(8) as u32);
        let from = (query_first + step % query_tiles) * comptime!(plan.tile);
        #[unroll]
        for part in 0..comptime!(plan.tile / span) {
            let query = from + comptime!(part * span);
            // Spans of queries that end before this warp's first position are masked entirely.
            if query + comptime!(span - 1) >= warp_first {
                let q_tile = here + comptime!((part * span * plan.row_bytes()) as u32);
                let dy_tile = q_tile + comptime!(plan.tile_bytes() as u32);
                let facts = here
                    + comptime!((2 * plan.tile_bytes() + part * span * 8) as u32)
                    + u32::cast_from(lane % 4) * 16u32;
                let (mut s, dp) = match comptime!(plan.held) {
                    true => (scores(&k, q_tile, plan), scores(&v, dy_tile, plan)),
                    false => (
                        scores_of_tile(k_rows, q_tile, plan),
                        scores_of_tile(v_rows, dy_tile, plan),
                    ),
                };
                if warp_last > query {
                    mask(&mut s, query, warp_first, Side::Keys, plan);
                }
                let mut ds = zeros(comptime!(blocks * span / 8));
                #[unroll]
                for n in 0..comptime!(span / 8) {
                    // Statistic and delta of each of this lane's two queries.
                    let of = load_line(facts + comptime!(64 * n as u32));
                    #[unroll]
                    for block in 0..blocks {
                        let at = comptime!(block * span / 8 + n);
                        let sum = s[at];
                        let gradient = dp[at];
                        let mut p = Vector::<f32, Const<4>>::empty();
                        #[unroll]
                        for e in 0..4usize {
                            let shift = f32::reinterpret(of.extract(comptime!(e % 2 * 2)));
                            p.insert(e, exp2(sum.extract(e) * scale - shift));
                        }
                        s[at] = p;
                        let mut d = Vector::<f32, Const<4>>::empty();
                        #[unroll]
                        for e in 0..4usize {
                            let delta = f32::reinterpret(of.extract(comptime!(e % 2 * 2 + 1)));
                            d.insert(e, p.extract(e) * (gradient.extract(e) - delta));
                        }
                        ds[at] = d;
                    }
                }
                let p_left = to_left(&s, plan);
                add_weighted(&p_left, dy_tile, &mut dv, plan);
                let ds_left = to_left(&ds, plan);
                add_weighted(&ds_left, q_tile, &mut dk, plan);
            }
        }
        step += 1usize;
    }

    let to = token * extents.d_qkv_stride;
    let stride = extents.d_qkv_stride;
    let scale = extents.scale;
    #[unroll]
    for block in 0..blocks {
        store_block(
            &dk,
            scale,
            scale,
            d_qkv,
            to + key_column,
            stride,
            warp_first,
            length,
            block,
            plan,
        );
        store_block(
            &dv,
            1.0f32,
            1.0f32,
            d_qkv,
            to + value_column,
            stride,
            warp_first,
            length,
            block,
            plan,
        );
    }
}

/// Where a group's queries come from: those of its first head, the gradients of their outputs, and the
/// statistic and delta of each.
#[derive(CubeType, Clone, Copy)]
struct QueryRows {
    q: Source,
    dy: Source,
    /// Address of the statistic and delta of the sequence's first token.
    rows: u64,
    length: usize,
}

/// Starts copying tile `tile` of the queries of head `member` of the group.
#[cube]
fn copy_queries(
    queries: &QueryRows,
    member: usize,
    tile: usize,
    to: u32,
    #[comptime] plan: FlashPlan,
) {
    let first = tile * comptime!(plan.tile);
    let length = queries.length;
    let away = u64::cast_from(member) * comptime!(plan.row_bytes() as u64).runtime();
    let q = queries.q.plus(away);
    let dy = queries.dy.plus(away);
    copy_stage(&q, &dy, first, length, to, plan);
    let numbers = to + comptime!((2 * plan.tile_bytes()) as u32);
    #[unroll]
    for i in 0..comptime!(plan.tile.div_ceil(plan.units())) {
        let row = UNIT_POS as usize + comptime!(i * plan.units());
        if row < comptime!(plan.tile) {
            let inside = first + row < length;
            let at = u64::cast_from(member * length + first + row) * 8u64;
            let valid = select(inside, 8u32, 0u32);
            let place = numbers + u32::cast_from(row) * 8u32;
            copy_async_pair(place, queries.rows + at, valid);
        }
    }
}
