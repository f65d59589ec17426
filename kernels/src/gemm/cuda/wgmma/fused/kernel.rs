//! Device code of the product that quantises its activations.

use cubecl::prelude::*;
use tritburn_formats::WeightCode;

use super::base::FusedBlueprint;
use super::cluster::{await_bytes, wait_bytes};
use super::quantize::{find_maxima, spread, stage};
use super::sums::{hand_over, write, write_shared};
use crate::epilogue::prefetch_scales;
use crate::gemm::cuda::stage::TileExtents;
use crate::gemm::cuda::wgmma::product::{declare_accumulators, finish_products, products};
use crate::operand::FloatType;
use crate::ptx::{
    MmaType, announce_cluster, copy_async, copy_async_commit, copy_async_wait, global_address,
    load_line, shared_address, show_tensor_cores, wait_cluster,
};

/// What a cube works on.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Place {
    /// Its number among the cubes that share the columns.
    pub split: usize,
    /// Its number among the cubes that share the tokens.
    pub share: usize,
    /// First column tile.
    pub first: usize,
    /// Column tiles.
    pub steps: usize,
    /// First weight row, in tiles of 64; past the last in cubes that only quantise.
    pub row_tile: usize,
    /// First token of the output tile.
    pub token: usize,
}

/// Addresses in the shared memory of a cube, the same in all.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Memory {
    /// Activations in int8, column tiles of rows of 128 bytes; the first of all.
    pub codes: u32,
    /// Weights.
    pub ring: u32,
    /// Activations that wait to be quantised. Sums take their place.
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

/// `y = Q(x) · Ŵᵀ + bias`. Cubes along x are clusters of output tiles side by side along the weight
/// rows, those along y token tiles.
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
    words: &[u32],
    row_scales: &[f32],
    bias: ComptimeOption<&[B]>,
    y: &mut [Vector<O, W>],
    extents: TileExtents,
    #[comptime] code: WeightCode,
    #[comptime] dtype: FloatType,
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
    let per_cube = (extents.col_tiles + comptime!(splits - 1)) / splits;
    let row_group = cube / comptime!(plan.cluster()) * shares + rank / splits;
    let place = Place {
        split,
        share: rank / splits,
        first: split * per_cube,
        steps: min(per_cube, extents.col_tiles - split * per_cube),
        row_tile: row_group * comptime!(plan.rows() / 64),
        token: CUBE_POS_Y as usize * comptime!(plan.tokens),
    };

    // Activations are waited for first; weights are under way meanwhile.
    let x_base = global_address::<F>(x);
    stage(x_base, &memory, &place, &extents, dtype, plan);
    copy_async_commit();
    if comptime!(plan.cluster() > 1) {
        if UNIT_POS == 0 {
            expect(&memory, &place, plan);
        }
        announce_cluster();
    }
    let w_base = global_address::<u32>(words);
    let mut filled = 0usize.runtime();
    while filled < comptime!(plan.stages).runtime() {
        let to = memory.ring + u32::cast_from(filled) * comptime!(plan.stage_bytes() as u32);
        copy_weights(to, w_base, filled, &place, &extents, plan);
        filled += 1;
    }
    let rows = comptime!(plan.rows()).runtime();
    prefetch_scales(place.row_tile * 64, rows, extents.n, row_scales);
    copy_async_wait(comptime!(plan.stages));
    // The other lanes' copies too.
    sync_plane();

    if comptime!(plan.cluster() > 1) {
        // Every cube of the cluster has started, and expects what it will be sent.
        wait_cluster();
    }
    find_maxima(&memory, &place, dtype, plan);
    if comptime!(splits > 1) {
        wait_bytes(memory.barriers);
    } else if comptime!(plan.parts() > 1) {
        sync_cube();
    } else {
        sync_plane();
    }
    spread(&memory, &place, dtype, plan);
    if comptime!(splits > 1) {
        // Sums may take the place of this unit's activations: it has read them.
        announce_cluster();
    }
    if comptime!(shares > 1) {
        wait_bytes(memory.barriers + 8);
        show_tensor_cores();
    } else {
        show_tensor_cores();
        sync_cube();
    }

    multiply(&memory, w_base, &place, &extents, code, plan);
    if comptime!(splits > 1) {
        // Every unit of the cluster has said so.
        wait_cluster();
        hand_over(&memory, &place, plan);
        write_shared::<O, B, W>(&memory, row_scales, &bias, y, &extents, &place, code, plan);
    } else {
        write::<O, B, W>(&memory, row_scales, &bias, y, &extents, &place, code, plan);
    }
}

/// Says how many bytes this cube will be sent.
#[cube]
fn expect(memory: &Memory, place: &Place, #[comptime] plan: FusedBlueprint) {
    if comptime!(plan.splits > 1) {
        let maxima = comptime!(4 * plan.own_tokens() * plan.slots()) as u32;
        await_bytes(memory.barriers, maxima.runtime());
        // A line of every unit of every cube that shares the columns, for each 8 tokens summed up here.
        let last = comptime!((plan.tiles * plan.tokens / 8 + plan.splits - 1) as u32);
        let groups = (last - u32::cast_from(place.split)) / comptime!(plan.splits as u32);
        let lines = comptime!((plan.units() * plan.splits) as u32);
        await_bytes(memory.barriers + 16, groups * lines * 16);
    }
    if comptime!(plan.shares > 1) {
        let scales = comptime!(4 * plan.tokens as u32);
        let codes = u32::cast_from(place.steps) * comptime!(plan.x_bytes() as u32);
        await_bytes(memory.barriers + 8, codes + scales);
    }
}

/// Multiplies the resident activations with the ring of weights. A unit reads no weights but those that
/// it copied itself: nothing here waits for other units.
#[cube]
fn multiply(
    memory: &Memory,
    w_base: u64,
    place: &Place,
    extents: &TileExtents,
    #[comptime] code: WeightCode,
    #[comptime] plan: FusedBlueprint,
) {
    let unit = UNIT_POS;
    let line = unit / 128 * comptime!(128 * plan.tiles as u32) + unit % 128;
    let mut step = 0usize.runtime();
    let mut slot = 0u32.runtime();
    while step < place.steps {
        copy_async_wait(comptime!(plan.stages - 1));
        let stage = memory.ring + slot * comptime!(plan.stage_bytes() as u32);
        let mut held = Array::<Vector<u32, Const<4>>>::new(comptime!(plan.tiles));
        #[unroll]
        for i in 0..comptime!(plan.tiles) {
            held[i] = load_line(stage + line * 16 + comptime!(2048 * i as u32));
        }
        let right = memory.codes + u32::cast_from(step) * comptime!(plan.x_bytes() as u32);
        let tile = comptime!(plan.product());
        products(&held, right, 0usize, step == 0, code, MmaType::Int8, tile);
        if comptime!(plan.whole()) {
            copy_async_commit();
        } else {
            let ahead = step + comptime!(plan.stages);
            copy_weights(stage, w_base, ahead, place, extents, plan);
        }
        #[unroll]
        for slice in 1..4usize {
            products(&held, right, slice, false, code, MmaType::Int8, tile);
        }
        slot = select(slot == comptime!(plan.stages as u32 - 1), 0u32, slot + 1);
        step += 1usize;
    }
    finish_products();
}

/// Starts the copies of this unit's weights of the cube's column tile `step` to the stage at `to`, and
/// closes the group whether there are any or not.
#[cube]
fn copy_weights(
    to: u32,
    w_base: u64,
    step: usize,
    place: &Place,
    extents: &TileExtents,
    #[comptime] plan: FusedBlueprint,
) {
    if step < place.steps {
        let unit = UNIT_POS as usize;
        let column = place.first + step;
        let first = unit / 128 * comptime!(plan.tiles);
        #[unroll]
        for i in 0..comptime!(plan.tiles) {
            let row_tile = place.row_tile + first + i;
            let inside = row_tile < extents.row_tiles;
            let tile = row_tile * extents.col_tiles + column;
            let from = u64::cast_from(select(inside, tile, 0usize)) * 2048;
            let line = (unit % 128) * 16;
            copy_async(
                to + u32::cast_from((first + i) * 2048 + line),
                w_base + from + u64::cast_from(line),
                select(inside, 16u32, 0u32),
            );
        }
    }
    copy_async_commit();
}
