//! Device code of the product that quantises its activations.

use cubecl::prelude::*;
use tritburn_formats::WeightCode;

use super::base::FusedBlueprint;
use super::cluster::{init_byte_barrier, wait_bytes};
use super::quantize::{find_maxima, load_held, send_codes, stage};
use super::sums::{send_sums, token_scales, write_shared};
use crate::device_code::MmaType;
use crate::device_code::epilogue::{RowPair, prefetch_scales};
use crate::device_code::ptx::cluster::{arrive_cluster_relaxed, wait_cluster};
use crate::device_code::ptx::{
    copy_async, copy_async_commit, copy_async_wait, fence_async_proxy, global_address, load_line,
    shared_address,
};
use crate::operand::FloatType;
use crate::product::cuda::args::ProductArgs;
use crate::product::cuda::stage::TileExtents;
use crate::product::cuda::wgmma::output::{Scales, load_pairs, write};
use crate::product::cuda::wgmma::product::{
    SharedOperand, declare_accumulators, descriptor, finish_products, products,
};
use crate::product::cuda::wgmma::tile::WarpgroupTile;

/// The part of the product that a cube computes.
#[derive(CubeType, Clone, Copy)]
pub(super) struct CubeWork {
    /// Index of the cube among the `splits` that divide the columns.
    pub split: usize,
    /// Index of the cube among the `shares` that work on the same tokens and columns.
    pub share: usize,
    /// First column tile.
    pub first: usize,
    /// Number of column tiles.
    pub steps: usize,
    /// First weight row, in tiles of 64. It lies past the last one in a cube that only quantises.
    pub row_tile: usize,
    /// First token of the output tile.
    pub token: usize,
}

/// Shared-memory addresses, which are the same in all cubes.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Memory {
    /// int8 activations: column tiles, in each a row of 128 bytes per token.
    pub codes: u32,
    /// The ring of weights.
    pub ring: u32,
    /// Float activations before they are quantised. Partial sums overwrite them.
    pub staging: u32,
    /// The largest magnitudes of tokens.
    pub maxima: u32,
    /// Scales of tokens.
    pub scales: u32,
    /// Barriers that count what the cluster sends: maxima, codes and scales, sums.
    pub barriers: u32,
}

#[cube]
fn memory_at(codes: u32, #[comptime] dtype: FloatType, #[comptime] plan: FusedBlueprint) -> Memory {
    Memory {
        codes,
        ring: codes + comptime!(plan.ring_at() as u32),
        staging: codes + comptime!(plan.staging_at() as u32),
        maxima: codes + comptime!(plan.maxima_at(dtype) as u32),
        scales: codes + comptime!(plan.scales_at(dtype) as u32),
        barriers: codes + comptime!(plan.barriers_at(dtype) as u32),
    }
}

/// `y = Q(x) · Ŵᵀ + bias`. The grid's x axis are clusters along the weight rows, its y axis token tiles.
/// `exact`: K is exactly what the plan has room for ([`FusedBlueprint::is_exact`]).
#[cube(
    launch_unchecked,
    address_type = "dynamic",
    cluster_dim = CubeDim::new_1d(plan.cluster() as u32)
)]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn fused<F: Numeric, O: Numeric, B: Float, W: Size>(
    x: &[F],
    args: &ProductArgs<B>,
    y: &mut [Vector<O, W>],
    #[comptime] dtype: FloatType,
    #[comptime] exact: bool,
    #[comptime] plan: FusedBlueprint,
    #[define(F)] _x_type: ElemType,
    #[define(O)] _out_type: ElemType,
    #[define(B)] _bias_type: ElemType,
) {
    let size = comptime!(plan.shared_bytes(dtype) / 4);
    let shared = Shared::<[u32]>::new_aligned_slice(size, 1024usize);
    let codes = (shared_address::<u32>(&shared) + 1023u32) & 0xFFFF_FC00u32;
    let memory = memory_at(codes, dtype, plan);

    let declare = comptime!(declare_accumulators(plan.product(), MmaType::Int8));
    gpu_asm!("{declare}");
    let (splits, shares) = comptime!((plan.splits, plan.shares));

    let cube = CUBE_POS_X as usize;
    let rank = cube % comptime!(plan.cluster());
    let split = rank % splits;
    let per_cube = if comptime!(exact) {
        comptime!(plan.columns).runtime()
    } else {
        (args.extents.col_tiles + comptime!(splits - 1)) / splits
    };
    let row_group = cube / comptime!(plan.cluster()) * shares + rank / splits;
    let cube_work = CubeWork {
        split,
        share: rank / splits,
        first: split * per_cube,
        steps: if comptime!(exact) {
            per_cube
        } else {
            min(per_cube, args.extents.col_tiles - split * per_cube)
        },
        row_tile: row_group * comptime!(plan.rows() / 64),
        token: CUBE_POS_Y as usize * comptime!(plan.tokens),
    };

    // Activations are needed first, so their loads are issued first; weights follow.
    let x_base = global_address::<F>(x);
    let in_registers = comptime!(plan.in_registers(dtype, exact));
    let held = if comptime!(in_registers) {
        load_held(x_base, &cube_work, &args.extents, dtype, plan)
    } else {
        stage(
            x_base,
            &memory,
            &cube_work,
            &args.extents,
            dtype,
            exact,
            plan,
        );
        copy_async_commit();
        Array::<Vector<u32, Const<4>>>::new(1usize)
    };
    if comptime!(plan.cluster() > 1) {
        if UNIT_POS == 0 {
            init_barriers(&memory, &cube_work, plan);
        }
        arrive_cluster_relaxed();
    }
    let weights = weights(
        global_address::<u32>(args.words),
        &memory,
        &cube_work,
        &args.extents,
        plan,
    );
    #[unroll]
    for step in 0..comptime!(plan.stages) {
        let to = weights.to + comptime!((step * plan.stage_bytes()) as u32);
        copy_weights(&weights, to, comptime!(step).runtime(), &cube_work, plan);
    }
    let product = comptime!(plan.product());
    let pairs = if comptime!(splits == 1) {
        load_pairs::<B>(args, cube_work.row_tile, product)
    } else {
        let rows = comptime!(plan.rows()).runtime();
        prefetch_scales(
            cube_work.row_tile * 64,
            rows,
            args.extents.n,
            args.row_scales,
        );
        Sequence::<RowPair>::new()
    };
    if comptime!(!in_registers) {
        copy_async_wait(comptime!(plan.stages));
        // Makes the other lanes' copies visible.
        sync_plane();
    }

    if comptime!(plan.cluster() > 1) {
        // After this, every cube of the cluster has started and initialised its barriers.
        wait_cluster();
    }
    let tops = find_maxima(&held, &memory, &cube_work, dtype, in_registers, plan);
    if comptime!(splits > 1) {
        wait_bytes(memory.barriers);
    } else if comptime!(plan.parts() > 1) {
        sync_cube();
    } else {
        sync_plane();
    }
    send_codes(&held, &tops, &memory, &cube_work, dtype, in_registers, plan);
    if comptime!(splits > 1) {
        // This unit has read its activations, which partial sums may overwrite.
        arrive_cluster_relaxed();
    }
    if comptime!(shares > 1) {
        wait_bytes(memory.barriers + 8);
        fence_async_proxy();
    } else {
        fence_async_proxy();
        sync_cube();
    }

    multiply(&memory, &weights, &cube_work, comptime!(args.code), plan);
    if comptime!(splits > 1) {
        // After this, every unit of the cluster has read its activations.
        wait_cluster();
        send_sums(&memory, &cube_work, plan);
        write_shared::<O, B, W>(args, &memory, y, &cube_work, plan);
    } else {
        let tokens = token_scales(&memory, plan);
        let scales = Scales { pairs, tokens };
        let tile = WarpgroupTile {
            row_tile: cube_work.row_tile,
            token: cube_work.token,
        };
        write::<i32, O, B, W>(args, &scales, y, &tile, MmaType::Int8, product);
    }
}

/// Initialises the barriers with the number of bytes that this cube will receive.
#[cube]
fn init_barriers(memory: &Memory, cube_work: &CubeWork, #[comptime] plan: FusedBlueprint) {
    if comptime!(plan.splits > 1) {
        let maxima = comptime!(4 * plan.own_tokens() * plan.slots()) as u32;
        init_byte_barrier(memory.barriers, maxima.runtime());
        // For each group of 8 tokens that this cube adds up, every unit of every split sends 16 bytes.
        let last = comptime!((plan.tiles * plan.tokens / 8 + plan.splits - 1) as u32);
        let groups = (last - u32::cast_from(cube_work.split)) / comptime!(plan.splits as u32);
        let lines = comptime!((plan.units() * plan.splits) as u32);
        init_byte_barrier(memory.barriers + 16, groups * lines * 16);
    }
    if comptime!(plan.shares > 1) {
        let bytes = comptime!((plan.columns * plan.x_bytes() + 4 * plan.tokens) as u32);
        init_byte_barrier(memory.barriers + 8, bytes.runtime());
    }
}

/// This unit's part of the weights: 16 bytes of every 64-row tile of its warpgroup. They are what the unit
/// multiplies itself, so that it only waits for its own copies.
#[derive(CubeType)]
struct Weights {
    /// Global address per 64-row tile, in the cube's first column tile.
    from: Array<u64>,
    /// Bytes to read there: 0 past the last row.
    bytes: Array<u32>,
    /// Shared-memory address in the first stage.
    to: u32,
}

#[cube]
fn weights(
    base: u64,
    memory: &Memory,
    cube_work: &CubeWork,
    extents: &TileExtents,
    #[comptime] plan: FusedBlueprint,
) -> Weights {
    let unit = UNIT_POS as usize;
    let first = unit / 128 * comptime!(plan.tiles);
    let line = (unit % 128) * 16;
    let mut from = Array::<u64>::new(comptime!(plan.tiles));
    let mut bytes = Array::<u32>::new(comptime!(plan.tiles));
    #[unroll]
    for i in 0..comptime!(plan.tiles) {
        let row_tile = cube_work.row_tile + first + i;
        let inside = row_tile < extents.row_tiles;
        let tile = select(
            inside,
            row_tile * extents.col_tiles + cube_work.first,
            0usize,
        );
        from[i] = base + u64::cast_from(tile) * 2048 + u64::cast_from(line);
        bytes[i] = select(inside, 16u32, 0u32);
    }
    Weights {
        from,
        bytes,
        to: memory.ring + u32::cast_from(first * 2048 + line),
    }
}

/// Starts copying this unit's weights of the cube's column tile `step` to the stage at `to`, and closes the
/// group, which is empty past the last column tile.
#[cube]
fn copy_weights(
    weights: &Weights,
    to: u32,
    step: usize,
    cube_work: &CubeWork,
    #[comptime] plan: FusedBlueprint,
) {
    if step < cube_work.steps {
        #[unroll]
        for i in 0..comptime!(plan.tiles) {
            copy_async(
                to + comptime!(2048 * i as u32),
                weights.from[i] + u64::cast_from(step) * 2048,
                weights.bytes[i],
            );
        }
    }
    copy_async_commit();
}

/// Multiplies the resident activations with the ring of weights.
#[cube]
fn multiply(
    memory: &Memory,
    weights: &Weights,
    cube_work: &CubeWork,
    #[comptime] code: WeightCode,
    #[comptime] plan: FusedBlueprint,
) {
    let tile = comptime!(plan.product());
    let mut step = 0usize.runtime();
    let mut stage = weights.to;
    let mut right = descriptor(memory.codes, SharedOperand::DepthInner);
    while step < cube_work.steps {
        copy_async_wait(comptime!(plan.stages - 1));
        let mut held = Array::<Vector<u32, Const<4>>>::new(comptime!(plan.tiles));
        #[unroll]
        for i in 0..comptime!(plan.tiles) {
            held[i] = load_line(stage + comptime!(2048 * i as u32));
        }
        products(&held, right, 0usize, step == 0, code, MmaType::Int8, tile);
        if comptime!(plan.whole()) {
            copy_async_commit();
        } else {
            let ahead = step + comptime!(plan.stages);
            copy_weights(weights, stage, ahead, cube_work, plan);
        }
        #[unroll]
        for i in 1..comptime!(4 / tile.slices()) {
            let slice = comptime!(i * tile.slices());
            products(&held, right, slice, false, code, MmaType::Int8, tile);
        }
        right += comptime!((plan.x_bytes() >> 4) as u32);
        stage += comptime!(plan.stage_bytes() as u32);
        if comptime!(!plan.whole()) {
            let end = weights.to + comptime!((plan.stages * plan.stage_bytes()) as u32);
            stage = select(stage == end, weights.to, stage);
        }
        step += 1usize;
    }
    finish_products();
}
