//! Device code of the outer product.

use cubecl::prelude::*;
use cubecl_cpp::cuda::ptx::tensor_map_address;

use super::base::{
    ACTIVATION_BYTES, BLOCK_BYTES, BLOCKS, FRAGMENT_WORDS, GRADIENT_BYTES, PLAN, RING,
    SHARED_BYTES, STEP_TOKENS,
};
use crate::device_code::MmaType;
use crate::device_code::epilogue::store_line;
use crate::device_code::fragments::decode_scaled;
use crate::device_code::ptx::bulk::{copy_bulk, copy_tile, prefetch_map};
use crate::device_code::ptx::cluster::leave_cluster;
use crate::device_code::ptx::registers::{REGISTERS, lower_registers, raise_registers};
use crate::device_code::ptx::{global_address, load_floats, load_line, shared_address};
use crate::product::cuda::wgmma::ring::{
    Ring, advance, await_filled, begin_filling, filled_barrier, init_ring, is_producer,
    release_previous, stage_address,
};
use crate::product::cuda::wgmma::{
    SharedOperand, WarpgroupTile, accumulator, declare_accumulators, descriptor, finish_products,
    first_row, output_tile, start,
};

/// Runtime sizes.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct OuterExtents {
    /// Outputs.
    pub n: usize,
    /// Inputs.
    pub k: usize,
    /// Tiles of 64 tokens.
    pub token_tiles: usize,
    /// Tiles of 64 inputs.
    pub input_tiles: usize,
    /// Parts that the tokens are divided into; each has its own output matrix of partial sums.
    pub parts: usize,
    /// Token tiles of a part. The last part may have fewer.
    pub share: usize,
    /// Row stride of dW, in elements.
    pub dw_stride: usize,
    /// Elements from one part of dW to the next.
    pub part_stride: usize,
}

/// `dw[n, k] = Σ_m dy[m, n] · (s_m · q[m, k])`. The tensor map of `dy` copies swizzled blocks of 64
/// tokens × 64 outputs; `fragments` is what [`transpose`](super::fragments::transpose) writes.
#[cube(
    launch_unchecked,
    address_type = "dynamic",
    cluster_dim = CubeDim::new_1d(PLAN.multicast as u32)
)]
pub(super) fn outer<F: Float, O: Float, W: Size>(
    dy: &TensorMap<F, Tiled>,
    fragments: &[u32],
    dw: &mut [Vector<O, W>],
    extents: OuterExtents,
    #[comptime] types: MmaType,
    #[define(F)] _dy_type: ElemType,
    #[define(O)] _dw_type: ElemType,
) {
    let plan = comptime!(PLAN);
    let shared = Shared::<[u32]>::new_aligned_slice(comptime!(SHARED_BYTES / 4), 1024usize);
    let base = (shared_address::<u32>(&shared) + 1023u32) & 0xFFFF_FC00u32;
    let declare = comptime!(declare_accumulators(plan, types));
    gpu_asm!("{declare}");

    let mut ring = init_ring(base, RING);
    let cubes = comptime!(plan.multicast);
    let rank = CUBE_POS % cubes;
    let tiles_n = (extents.n + comptime!(plan.tokens - 1)) / comptime!(plan.tokens);
    let inputs = comptime!(plan.rows() * plan.multicast);
    let tiles_k = (extents.k + comptime!(inputs - 1)) / inputs;
    let tiles = tiles_n * tiles_k;
    let count = tiles * extents.parts;
    let input_tiles = rank * comptime!(plan.rows() / 64);
    let mut index = CUBE_POS / cubes;

    if is_producer(RING) {
        lower_registers(comptime!(REGISTERS[1]));
        if UNIT_POS == comptime!(plan.units() as u32) {
            let map = tensor_map_address::<F, Tiled>(dy);
            prefetch_map(map);
            let x_base = global_address::<u32>(fragments);
            while index < count {
                let mut tile = output_tile(index % tiles, tiles_n, tiles_k, plan);
                tile.row_tile += input_tiles;
                let mut step = index / tiles * extents.share;
                let end = min(step + extents.share, extents.token_tiles);
                while step < end {
                    fill(&ring, map, x_base, &tile, step, rank, &extents);
                    advance(&mut ring, RING);
                    step += 1;
                }
                index += CUBE_COUNT / cubes;
            }
        }
    } else {
        raise_registers(comptime!(REGISTERS[0]));
        let unit = UNIT_POS as usize;
        let (warpgroup, lane) = (unit / 128, unit % 32);
        let activations = comptime!(GRADIENT_BYTES as u32)
            + u32::cast_from(warpgroup) * comptime!(4096 * plan.tiles as u32)
            + u32::cast_from(unit % 128) * 16;
        let scales =
            comptime!((GRADIENT_BYTES + ACTIVATION_BYTES) as u32) + u32::cast_from(lane % 4) * 8;
        while index < count {
            let part = index / tiles;
            let mut tile = output_tile(index % tiles, tiles_n, tiles_k, plan);
            tile.row_tile += input_tiles;
            let first_step = part * extents.share;
            let end = min(first_step + extents.share, extents.token_tiles);
            let mut step = first_step;
            while step < end {
                await_filled(&ring, RING);
                let stage = stage_address(&ring, RING);
                #[unroll]
                for slice in 0..4usize {
                    let first = comptime!(slice == 0).runtime() && step == first_step;
                    products(
                        stage,
                        stage + activations,
                        stage + scales,
                        slice,
                        first,
                        types,
                    );
                    // `products` has waited for this warp's wgmmas of the previous stage.
                    if comptime!(slice == 0) {
                        release_previous(&ring, step > first_step, RING);
                    }
                }
                advance(&mut ring, RING);
                step += 1;
            }
            finish_products();
            release_previous(&ring, true, RING);
            let whole = tile.token + comptime!(plan.tokens) <= extents.n
                && tile.row_tile * 64 + comptime!(plan.rows()) <= extents.k;
            // A tile inside of the matrix is stored without a branch per pair of outputs, as
            // branches would serialise the stores.
            let start = part * extents.part_stride;
            if whole {
                write::<O, W>(dw, start, &tile, &extents, true, types);
            } else {
                write::<O, W>(dw, start, &tile, &extents, false, types);
            }
            index += CUBE_COUNT / cubes;
        }
    }
    leave_cluster();
}

/// Producer: starts the copies of one step of 64 tokens: this cube's half of the gradients to both
/// cubes of the cluster; activations and scales to this cube.
#[cube]
fn fill(
    ring: &Ring,
    map: u64,
    x_base: u64,
    tile: &WarpgroupTile,
    step: usize,
    rank: usize,
    extents: &OuterExtents,
) {
    let plan = comptime!(PLAN);
    begin_filling(ring, RING);
    let (stage, barrier) = (stage_address(ring, RING), filled_barrier(ring, RING));
    let token = u32::cast_from(step * STEP_TOKENS);
    let output = u32::cast_from(tile.token + rank * comptime!(64 * BLOCKS));
    let first = stage + u32::cast_from(rank) * comptime!((BLOCK_BYTES * BLOCKS) as u32);
    let cubes = comptime!(plan.multicast as u32);
    #[unroll]
    for i in 0..comptime!(BLOCKS as u32) {
        let to = first + comptime!(BLOCK_BYTES as u32 * i);
        copy_tile(to, map, token, output + comptime!(64 * i), barrier, cubes);
    }
    let to = stage + comptime!(GRADIENT_BYTES as u32);
    #[unroll]
    for i in 0..comptime!(plan.rows() / 64) {
        // A cube past the last input tile repeats that tile; its sums are not stored.
        let input_tile = min(tile.row_tile + i, extents.input_tiles - 1);
        let from = (input_tile * extents.token_tiles + step) * comptime!(FRAGMENT_WORDS * 4);
        copy_bulk(
            to + comptime!((FRAGMENT_WORDS * 4 * i) as u32),
            x_base + u64::cast_from(from),
            comptime!((FRAGMENT_WORDS * 4) as u32),
            barrier,
        );
    }
    let words = extents.input_tiles * extents.token_tiles * FRAGMENT_WORDS + step * STEP_TOKENS;
    copy_bulk(
        to + comptime!(ACTIVATION_BYTES as u32),
        x_base + u64::cast_from(words * 4),
        comptime!((STEP_TOKENS * 4) as u32),
        barrier,
    );
}

/// Issues the wgmma of one slice of 16 tokens, and waits for that of the slice before.
#[cube]
fn products(
    stage: u32,
    activations: u32,
    scales: u32,
    #[comptime] slice: usize,
    first: bool,
    #[comptime] types: MmaType,
) {
    let plan = comptime!(PLAN);
    let low = load_floats(scales + comptime!(64 * slice as u32));
    let high = load_floats(scales + comptime!(64 * slice as u32 + 32));
    let mut registers = Array::<u32>::new(comptime!(plan.tiles * 4));
    #[unroll]
    for tile in 0..comptime!(plan.tiles) {
        let line = load_line(activations + comptime!((4096 * tile + 2048 * (slice / 2)) as u32));
        #[unroll]
        for half in 0..2usize {
            let word = line.extract(comptime!(2 * (slice % 2) + half));
            let pair = decode_scaled(word, low, high, types);
            registers[comptime!(4 * tile + half)] = pair.extract(0usize);
            registers[comptime!(4 * tile + half + 2)] = pair.extract(1usize);
        }
    }
    gpu_asm!("wgmma.fence.sync.aligned;");
    let right = descriptor(stage, SharedOperand::DepthOuter) + comptime!(128 * slice as u32);
    let more = u32::cast_from(!first);
    #[unroll]
    for tile in 0..comptime!(plan.tiles) {
        start(
            registers[comptime!(4 * tile)],
            registers[comptime!(4 * tile + 1)],
            registers[comptime!(4 * tile + 2)],
            registers[comptime!(4 * tile + 3)],
            right,
            more,
            tile,
            SharedOperand::DepthOuter,
            types,
            plan,
        );
    }
    gpu_asm!("wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 1;");
}

/// Stores the sums of this warpgroup's 64 inputs. `whole`: all of them are inside of the matrix.
#[cube]
fn write<O: Float, W: Size>(
    dw: &mut [Vector<O, W>],
    start: usize,
    tile: &WarpgroupTile,
    extents: &OuterExtents,
    #[comptime] whole: bool,
    #[comptime] types: MmaType,
) {
    let plan = comptime!(PLAN);
    let input = first_row(tile.row_tile, plan);
    let output = tile.token + 2 * (UNIT_POS as usize % 4);
    if comptime!(whole).runtime() || (input < extents.k && output < extents.n) {
        let both = input + 1 < extents.k;
        let left = extents.n - output;
        // Counted in lines of dW. If a line is two elements, rows are made of whole lines.
        let width = W::value();
        let line = (start + output * extents.dw_stride + input) / width;
        let pitch = extents.dw_stride / width;
        #[unroll]
        for i in 0..comptime!(plan.tokens / 4) {
            let offset = comptime!(8 * (i / 2) + i % 2);
            if comptime!(whole).runtime() || offset < left {
                let at = comptime!(4 * (i / 2) + i % 2);
                let first = O::cast_from(accumulator::<f32>(at, types));
                let second = O::cast_from(accumulator::<f32>(comptime!(at + 2), types));
                store_line::<O, W>(dw, line + offset * pitch, first, second, both);
            }
        }
    }
}
