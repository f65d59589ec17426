//! Device code of the warpgroup GEMM for many tokens. The cubes of a cluster compute the same tokens, each
//! for its own weight rows, and every tile of activations is copied once for all of them (multicast). A
//! cube has two consumer warpgroups, which multiply, and a producer warpgroup, one unit of which copies.

use cubecl::prelude::*;
use cubecl_cpp::cuda::ptx::tensor_map_address;

use super::base::WgmmaBlueprint;
use super::output::{load_scales, write};
use super::product::{SharedOperand, declare_accumulators, descriptor, finish_products, products};
use super::ring::{
    Ring, advance, await_filled, begin_filling, filled_barrier, init_ring, is_producer,
    release_previous, stage_address,
};
use super::tile::{WarpgroupTile, output_tile};
use crate::device_code::MmaType;
use crate::device_code::ptx::bulk::{copy_bulk, copy_tile, prefetch_map};
use crate::device_code::ptx::cluster::leave_cluster;
use crate::device_code::ptx::registers::{REGISTERS, lower_registers, raise_registers};
use crate::device_code::ptx::{global_address, load_line, shared_address};
use crate::product::cuda::args::ProductArgs;
use crate::product::cuda::stage::TileExtents;

/// `y = x · Ŵᵀ + bias`, or the i32 sums if `integers`. The tensor map of `x` copies swizzled tiles of 128
/// bytes of `plan.tokens / plan.multicast` tokens.
#[cube(
    launch_unchecked,
    address_type = "dynamic",
    cluster_dim = CubeDim::new_1d(plan.multicast as u32)
)]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn wgmma_multicast<F: Numeric, A: Numeric, O: Numeric, B: Float, W: Size>(
    x: &TensorMap<F, Tiled>,
    args: &ProductArgs<B>,
    y: &mut [Vector<O, W>],
    #[comptime] types: MmaType,
    #[comptime] plan: WgmmaBlueprint,
    #[define(F)] _x_type: ElemType,
    #[define(A)] _sum_type: ElemType,
    #[define(O)] _out_type: ElemType,
    #[define(B)] _bias_type: ElemType,
) {
    let shared =
        Shared::<[u32]>::new_aligned_slice(comptime!(plan.shared_bytes(types) / 4), 1024usize);
    let base = (shared_address::<u32>(&shared) + 1023u32) & 0xFFFF_FC00u32;
    let declare = comptime!(declare_accumulators(plan, types));
    gpu_asm!("{declare}");

    let shape = comptime!(plan.ring(types));
    let mut ring = init_ring(base, shape);
    let cubes = comptime!(plan.multicast);
    let rank = CUBE_POS % cubes;
    let tiles_m = (args.extents.m + comptime!(plan.tokens - 1)) / comptime!(plan.tokens);
    let rows = comptime!(plan.rows() * plan.multicast);
    let tiles_n = (args.extents.n + comptime!(rows - 1)) / rows;
    let count = tiles_m * tiles_n;
    let row_tiles = rank * comptime!(plan.rows() / 64);
    let mut index = CUBE_POS / cubes;

    if is_producer(shape) {
        lower_registers(comptime!(REGISTERS[1]));
        if UNIT_POS == comptime!(plan.units() as u32) {
            let map = tensor_map_address::<F, Tiled>(x);
            prefetch_map(map);
            let w_base = global_address::<u32>(args.words);
            while index < count {
                let mut tile = output_tile(index, tiles_m, tiles_n, plan);
                tile.row_tile += row_tiles;
                let mut column = 0usize.runtime();
                while column < args.extents.col_tiles {
                    fill(
                        &ring,
                        map,
                        w_base,
                        &tile,
                        column,
                        rank,
                        &args.extents,
                        types,
                        plan,
                    );
                    advance(&mut ring, shape);
                    column += 1;
                }
                index += CUBE_COUNT / cubes;
            }
        }
    } else {
        raise_registers(comptime!(REGISTERS[0]));
        let unit = UNIT_POS as usize;
        let within = (unit / 128) * comptime!(2048 * plan.tiles) + unit % 128 * 16;
        let within = u32::cast_from(within) + comptime!(plan.x_bytes(types) as u32);
        while index < count {
            let mut tile = output_tile(index, tiles_m, tiles_n, plan);
            tile.row_tile += row_tiles;
            let scales = load_scales::<B>(args, &tile, plan);
            let mut column = 0usize.runtime();
            while column < args.extents.col_tiles {
                await_filled(&ring, shape);
                let stage = stage_address(&ring, shape);
                let mut held = Array::<Vector<u32, Const<4>>>::new(comptime!(plan.tiles));
                #[unroll]
                for i in 0..comptime!(plan.tiles) {
                    held[i] = load_line(stage + within + comptime!(2048 * i as u32));
                }
                let right = descriptor(stage, SharedOperand::DepthInner);
                let code = comptime!(args.code);
                products(&held, right, 0usize, column == 0, code, types, plan);
                // `products` has waited for this warp's wgmmas of the previous stage.
                release_previous(&ring, column > 0, shape);
                #[unroll]
                for i in 1..comptime!(4 / plan.slices()) {
                    let slice = comptime!(i * plan.slices());
                    products(&held, right, slice, false, code, types, plan);
                }
                advance(&mut ring, shape);
                column += 1;
            }
            finish_products();
            release_previous(&ring, true, shape);
            write::<A, O, B, W>(args, &scales, y, &tile, types, plan);
            index += CUBE_COUNT / cubes;
        }
    }
    leave_cluster();
}

/// Producer: starts the copies of one column tile: this cube's share of the activations to every cube of
/// the cluster, its weights to this cube.
#[cube]
#[allow(clippy::too_many_arguments, reason = "the facts of a stage")]
fn fill(
    ring: &Ring,
    map: u64,
    w_base: u64,
    tile: &WarpgroupTile,
    column: usize,
    rank: usize,
    extents: &TileExtents,
    #[comptime] types: MmaType,
    #[comptime] plan: WgmmaBlueprint,
) {
    let shape = comptime!(plan.ring(types));
    begin_filling(ring, shape);
    let (stage, barrier) = (stage_address(ring, shape), filled_barrier(ring, shape));
    let share = comptime!(plan.tokens / plan.multicast);
    let token = u32::cast_from(tile.token + rank * share);
    let from = stage + u32::cast_from(rank * comptime!(share * 128));
    let cubes = comptime!(plan.multicast as u32);
    #[unroll]
    for part in 0..comptime!(types.size()) {
        let first = column * comptime!(types.size() * plan.box_columns(types));
        let first = u32::cast_from(first + comptime!(part * plan.box_columns(types)));
        let to = from + comptime!((part * plan.tokens * 128) as u32);
        copy_tile(to, map, token, first, barrier, cubes);
    }
    let to = stage + comptime!(plan.x_bytes(types) as u32);
    #[unroll]
    for i in 0..comptime!(plan.rows() / 64) {
        // A cube past the last row tile repeats that tile; its sums are not stored.
        let row_tile = min(tile.row_tile + i, extents.row_tiles - 1);
        let from = (row_tile * extents.col_tiles + column) * 2048;
        copy_bulk(
            to + comptime!(2048 * i as u32),
            w_base + u64::cast_from(from),
            2048u32,
            barrier,
        );
    }
}
