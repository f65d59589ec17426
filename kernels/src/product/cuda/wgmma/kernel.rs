//! Device code of the warpgroup GEMM for few tokens: every unit copies (`cp.async`), and the cubes of a
//! cluster divide the columns of an output tile.

use cubecl::prelude::*;

use super::base::WgmmaBlueprint;
use super::output::{load_scales, write};
use super::product::{
    SharedOperand, accumulator, declare_accumulators, descriptor, finish_products, products,
};
use super::tile::{WarpgroupTile, first_row, output_tile};
use crate::device_code::MmaType;
use crate::device_code::epilogue::{RowPair, prefetch_scales, row_pair, token_scale, write_pair};
use crate::device_code::ptx::cluster::{
    arrive_cluster, arrive_cluster_relaxed, store_cluster, wait_cluster,
};
use crate::device_code::ptx::{
    copy_async, copy_async_commit, copy_async_wait, fence_async_proxy, global_address, load_line,
    shared_address,
};
use crate::product::cuda::args::ProductArgs;
use crate::product::cuda::stage::TileExtents;

/// The position of the copies, which run ahead of the products.
#[derive(CubeType)]
struct Ahead {
    /// Index of the output tile.
    index: usize,
    /// Column tile of this cube's share.
    step: usize,
    /// Stage of the ring.
    slot: u32,
    /// First weight row of the output tile, in tiles of 64.
    row_tile: usize,
    /// First token of the output tile.
    token: usize,
}

/// `y = x · Ŵᵀ + bias`, or the i32 sums if `integers`.
#[cube(
    launch_unchecked,
    address_type = "dynamic",
    cluster_dim = CubeDim::new_1d(plan.splits as u32)
)]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn wgmma<F: Numeric, A: Numeric, O: Numeric, B: Float, W: Size>(
    x: &[F],
    args: &ProductArgs<B>,
    y: &mut [Vector<O, W>],
    #[comptime] types: MmaType,
    #[comptime] plan: WgmmaBlueprint,
    #[define(F)] _x_type: ElemType,
    #[define(A)] _sum_type: ElemType,
    #[define(O)] _out_type: ElemType,
    #[define(B)] _bias_type: ElemType,
) {
    let stage_bytes = comptime!(plan.stage_bytes(types) as u32);
    let shared =
        Shared::<[u32]>::new_aligned_slice(comptime!(plan.shared_bytes(types) / 4), 1024usize);
    let ring = (shared_address::<u32>(&shared) + 1023u32) & 0xFFFF_FC00u32;
    let (x_base, w_base) = (global_address::<F>(x), global_address::<u32>(args.words));

    let declare = comptime!(declare_accumulators(plan, types));
    gpu_asm!("{declare}");
    let splits = comptime!(plan.splits);
    if comptime!(splits > 1) {
        arrive_cluster_relaxed();
    }

    let unit = UNIT_POS as usize;
    let warpgroup = unit / 128;
    let tiles_m = (args.extents.m + comptime!(plan.tokens - 1)) / comptime!(plan.tokens);
    let tiles_n = (args.extents.n + comptime!(plan.rows() - 1)) / comptime!(plan.rows());
    let count = tiles_m * tiles_n;
    // The cubes of a cluster compute the same output tile, each over its own share of the columns.
    let rank = CUBE_POS % splits;
    let share = (args.extents.col_tiles + comptime!(splits - 1)) / splits;
    let first = rank * share;
    let steps = min(share, args.extents.col_tiles - first);

    let mut index = CUBE_POS / splits;
    let mut tile = output_tile(index, tiles_m, tiles_n, plan);
    let mut ahead = Ahead {
        index,
        step: 0usize.runtime(),
        slot: 0u32.runtime(),
        row_tile: tile.row_tile,
        token: tile.token,
    };
    // The bound is opaque to the compiler, which would unroll the loop: a small product would then
    // spend a third of its time fetching instructions.
    let mut filled = 0usize.runtime();
    while filled
        < min(
            comptime!(plan.stages - 2).runtime(),
            args.extents.col_tiles + comptime!(plan.stages),
        )
    {
        copy(
            ring,
            x_base,
            w_base,
            &ahead,
            first,
            count,
            &args.extents,
            types,
            plan,
        );
        advance(&mut ahead, tiles_m, tiles_n, steps, plan);
        filled += 1;
    }
    let rows = comptime!(plan.rows()).runtime();
    prefetch_scales(tile.row_tile * 64, rows, args.extents.n, args.row_scales);

    let mut step = 0usize.runtime();
    let mut slot = 0u32.runtime();
    while index < count {
        copy_async_wait(comptime!(plan.stages - 3));
        fence_async_proxy();
        sync_cube();
        let stage = ring + slot * stage_bytes;
        let weights = stage
            + comptime!(plan.x_bytes(types) as u32)
            + u32::cast_from(warpgroup) * comptime!(2048 * plan.tiles as u32)
            + u32::cast_from(unit % 128) * 16;
        let mut held = Array::<Vector<u32, Const<4>>>::new(comptime!(plan.tiles));
        #[unroll]
        for i in 0..comptime!(plan.tiles) {
            held[i] = load_line(weights + comptime!(2048 * i as u32));
        }
        let right = descriptor(stage, SharedOperand::DepthInner);
        let code = comptime!(args.code);
        products(&held, right, 0usize, step == 0, code, types, plan);
        // Refills the stage of two steps before: every warpgroup has waited for its products.
        copy(
            ring,
            x_base,
            w_base,
            &ahead,
            first,
            count,
            &args.extents,
            types,
            plan,
        );
        advance(&mut ahead, tiles_m, tiles_n, steps, plan);
        #[unroll]
        for i in 1..comptime!(4 / plan.slices()) {
            let slice = comptime!(i * plan.slices());
            products(&held, right, slice, false, code, types, plan);
        }
        slot = select(slot == comptime!(plan.stages as u32 - 1), 0u32, slot + 1);
        step += 1usize;
        if step == steps {
            finish_products();
            if comptime!(splits > 1) {
                let sums = ring + comptime!(plan.ring_bytes(types) as u32);
                send_sums::<A>(sums, rank, types, plan);
                write_shared::<A, O, B, W>(args, y, &tile, sums, rank, plan);
            } else {
                let scales = load_scales::<B>(args, &tile, plan);
                write::<A, O, B, W>(args, &scales, y, &tile, types, plan);
            }
            step = 0usize.runtime();
            index += CUBE_COUNT / splits;
            let next = output_tile(index, tiles_m, tiles_n, plan);
            tile.row_tile = next.row_tile;
            tile.token = next.token;
        }
    }
}

/// Advances the copies by one column tile.
#[cube]
fn advance(
    ahead: &mut Ahead,
    tiles_m: usize,
    tiles_n: usize,
    steps: usize,
    #[comptime] plan: WgmmaBlueprint,
) {
    let last = comptime!(plan.stages as u32 - 1);
    ahead.slot = select(ahead.slot == last, 0u32, ahead.slot + 1);
    ahead.step += 1;
    if ahead.step == steps {
        ahead.step = 0usize.runtime();
        ahead.index += CUBE_COUNT / comptime!(plan.splits);
        let tile = output_tile(ahead.index, tiles_m, tiles_n, plan);
        ahead.row_tile = tile.row_tile;
        ahead.token = tile.token;
    }
}

/// Starts copying one column tile, and closes the group even if there is none left.
#[cube]
#[allow(clippy::too_many_arguments, reason = "the facts of a stage")]
fn copy(
    ring: u32,
    x_base: u64,
    w_base: u64,
    ahead: &Ahead,
    first: usize,
    count: usize,
    extents: &TileExtents,
    #[comptime] types: MmaType,
    #[comptime] plan: WgmmaBlueprint,
) {
    if ahead.index < count {
        let unit = UNIT_POS as usize;
        let column = first + ahead.step;
        let stage = ring + ahead.slot * comptime!(plan.stage_bytes(types) as u32);
        // Activations: rows of 128 bytes, the 16-byte line of number l at l xor (row mod 8).
        let (row, line) = (unit / 8, unit % 8);
        let to = stage + u32::cast_from(row * 128 + (line ^ (row % 8)) * 16);
        let rows_per_pass = comptime!(plan.units() / 8);
        #[unroll]
        for part in 0..comptime!(types.size()) {
            let offset = (column * comptime!(types.size()) + part) * 128 + line * 16;
            let left = select(offset < extents.x_bytes, extents.x_bytes - offset, 0usize);
            #[unroll]
            for pass in 0..comptime!(plan.tokens / rows_per_pass) {
                let token = ahead.token + row + comptime!(pass * rows_per_pass);
                let inside = token < extents.m && left > 0;
                let valid = select(inside, u32::cast_from(min(left, 16usize)), 0u32);
                let from = select(inside, token * extents.x_stride + offset, 0usize);
                let target = comptime!(((part * plan.tokens) + pass * rows_per_pass) * 128) as u32;
                copy_async(to + target, x_base + u64::cast_from(from), valid);
            }
        }
        // Weights: the fragment tiles as they are.
        let tiles = comptime!(plan.rows() / 64);
        #[unroll]
        for pass in 0..comptime!((tiles * 128).div_ceil(plan.units())) {
            let line = unit + comptime!(pass * plan.units());
            let row_tile = ahead.row_tile + line / 128;
            let inside = row_tile < extents.row_tiles;
            let valid = select(inside, 16u32, 0u32);
            let from = (row_tile * extents.col_tiles + column) * 2048 + (line % 128) * 16;
            let from = select(inside, from, 0usize);
            let to = stage + comptime!(plan.x_bytes(types) as u32) + u32::cast_from(line) * 16;
            copy_async(to, w_base + u64::cast_from(from), valid);
        }
    }
    copy_async_commit();
}

/// Sends every cube of the cluster this cube's partial sums of the outputs that the other cube will
/// store: every `plan.splits`-th group of 8 tokens, 16 bytes a unit.
#[cube]
fn send_sums<A: Numeric>(
    sums: u32,
    rank: usize,
    #[comptime] types: MmaType,
    #[comptime] plan: WgmmaBlueprint,
) {
    // Every cube of the cluster has started.
    wait_cluster();
    let address = sums + (u32::cast_from(rank) * comptime!(plan.units() as u32) + UNIT_POS) * 16;
    #[unroll]
    for i in 0..comptime!(plan.accumulators() / 4) {
        let a = u32::reinterpret(accumulator::<A>(comptime!(4 * i), types));
        let b = u32::reinterpret(accumulator::<A>(comptime!(4 * i + 1), types));
        let c = u32::reinterpret(accumulator::<A>(comptime!(4 * i + 2), types));
        let d = u32::reinterpret(accumulator::<A>(comptime!(4 * i + 3), types));
        let to = address + comptime!((i / plan.splits * plan.splits * plan.units() * 16) as u32);
        store_cluster(to, comptime!((i % plan.splits) as u32), a, b, c, d);
    }
    arrive_cluster();
}

/// Adds the partial sums of this cube's groups, lowest rank first, rescales and stores them.
#[cube]
fn write_shared<A: Numeric, O: Numeric, B: Float, W: Size>(
    args: &ProductArgs<B>,
    y: &mut [Vector<O, W>],
    tile: &WarpgroupTile,
    sums: u32,
    rank: usize,
    #[comptime] plan: WgmmaBlueprint,
) {
    let extents = &args.extents;
    let unit = UNIT_POS as usize;
    let lane = unit % 32;
    let per_tile = comptime!(plan.tokens / 8);
    let count = comptime!(plan.tiles * per_tile);
    let first = first_row(tile.row_tile, plan);
    // Loads scales while the other cubes' sums arrive.
    let mut pairs = Sequence::<RowPair>::new();
    let mut scales = Array::<f32>::new(comptime!(2 * plan.sum_groups()));
    #[unroll]
    for i in 0..comptime!(plan.sum_groups()) {
        let group = rank + comptime!(i * plan.splits);
        let row = min(first + group / per_tile * 64, extents.n - 1);
        pairs.push(row_pair::<B>(
            row,
            extents.n,
            args.row_scales,
            &args.bias,
            true,
        ));
        #[unroll]
        for e in 0..2usize {
            let token = tile.token + (group % per_tile) * 8 + e + 2 * (lane % 4);
            let token = min(token, extents.m - 1);
            scales[comptime!(2 * i + e)] =
                token_scale(&args.x_scales, token, comptime!(args.integers));
        }
    }
    wait_cluster();
    #[unroll]
    for i in 0..comptime!(plan.sum_groups()) {
        let group = rank + comptime!(i * plan.splits);
        let row = first + group / per_tile * 64;
        if group < count && row < extents.n {
            let mut parts = Array::<Vector<u32, Const<4>>>::new(comptime!(plan.splits));
            #[unroll]
            for other in 0..comptime!(plan.splits) {
                let line = comptime!((i * plan.splits + other) * plan.units());
                parts[other] = load_line(sums + u32::cast_from(line + unit) * 16);
            }
            #[unroll]
            for e in 0..2usize {
                let token = tile.token + (group % per_tile) * 8 + e + 2 * (lane % 4);
                if token < extents.m {
                    let mut sum0 = A::from_int(0);
                    let mut sum1 = A::from_int(0);
                    #[unroll]
                    for other in 0..comptime!(plan.splits) {
                        sum0 += A::reinterpret(parts[other].extract(e));
                        sum1 += A::reinterpret(parts[other].extract(comptime!(e + 2)));
                    }
                    write_pair::<A, O, W>(
                        y,
                        token * extents.y_stride,
                        &pairs[i],
                        scales[comptime!(2 * i + e)],
                        sum0,
                        sum1,
                        comptime!(args.code),
                        comptime!(args.integers),
                    );
                }
            }
        }
    }
}
