//! Device code of the outer product.

use cubecl::prelude::*;

use super::base::{ACTIVATION_BYTES, GRADIENT_BYTES, PLAN, SHARED_BYTES, STAGE_BYTES};
use crate::epilogue::store;
use crate::gemm::cuda::wgmma::{
    Ahead, RightOperand, accumulator, advance, declare_accumulators, place, start,
};
use crate::ptx::{
    MmaType, copy_async, copy_async_commit, copy_async_wait, copy_async_word, decode_scaled,
    global_address, load_floats, load_line, shared_address,
};

/// Runtime sizes.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct OuterExtents {
    /// Tokens.
    pub m: usize,
    /// Outputs.
    pub n: usize,
    /// Inputs.
    pub k: usize,
    /// Tiles of 64 tokens.
    pub token_tiles: usize,
    /// Tiles of 64 inputs.
    pub input_tiles: usize,
    /// Bytes between tokens of dY.
    pub dy_stride: usize,
    /// Elements between rows of dW.
    pub dw_stride: usize,
}

/// `dw[n, k] = Σ_m dy[m, n] · (s_m · q[m, k])`; `fragments` are the activations transposed.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn outer<F: Float, O: Float, W: Size>(
    dy: &[F],
    fragments: &[u32],
    x_scales: &[f32],
    dw: &mut [Vector<O, W>],
    extents: OuterExtents,
    #[comptime] types: MmaType,
    #[define(F)] _dy_type: ElemType,
    #[define(O)] _dw_type: ElemType,
) {
    let plan = comptime!(PLAN);
    let shared = Shared::<[u32]>::new_aligned_slice(comptime!(SHARED_BYTES / 4), 1024usize);
    let ring = (shared_address::<u32>(&shared) + 1023u32) & 0xFFFF_FC00u32;
    let dy_base = global_address::<F>(dy);
    let x_base = global_address::<u32>(fragments);
    let s_base = global_address::<f32>(x_scales);

    let declare = comptime!(declare_accumulators(plan, types));
    gpu_asm!("{declare}");

    let unit = UNIT_POS as usize;
    let (warpgroup, lane) = (unit / 128, unit % 32);
    let tiles_n = (extents.n + comptime!(plan.tokens - 1)) / comptime!(plan.tokens);
    let tiles_k = (extents.k + comptime!(plan.rows() - 1)) / comptime!(plan.rows());
    let count = tiles_n * tiles_k;
    let steps = extents.token_tiles;

    let mut index = CUBE_POS;
    let mut tile = place(index, tiles_n, tiles_k, plan);
    let mut ahead = Ahead {
        index,
        step: 0usize.runtime(),
        slot: 0u32.runtime(),
        row_tile: tile.row_tile,
        token: tile.token,
    };
    #[unroll]
    for _ in 0..comptime!(plan.stages - 2) {
        copy(ring, dy_base, x_base, s_base, &ahead, count, &extents);
        advance(&mut ahead, tiles_n, tiles_k, steps, plan);
    }

    let mut step = 0usize.runtime();
    let mut slot = 0u32.runtime();
    while index < count {
        copy_async_wait(comptime!(plan.stages - 3));
        gpu_asm!("fence.proxy.async.shared::cta;");
        sync_cube();
        let stage = ring + slot * comptime!(STAGE_BYTES as u32);
        let activations = stage
            + comptime!(GRADIENT_BYTES as u32)
            + u32::cast_from(warpgroup) * comptime!(4096 * plan.tiles as u32)
            + u32::cast_from(unit % 128) * 16;
        let scales = stage
            + comptime!((GRADIENT_BYTES + ACTIVATION_BYTES) as u32)
            + u32::cast_from(lane % 4) * 8;
        products(stage, activations, scales, 0usize, step == 0, types);
        // The slot that products two steps back read: every warpgroup has waited for those.
        copy(ring, dy_base, x_base, s_base, &ahead, count, &extents);
        advance(&mut ahead, tiles_n, tiles_k, steps, plan);
        #[unroll]
        for slice in 1..4usize {
            products(stage, activations, scales, slice, false, types);
        }
        slot = select(slot == comptime!(plan.stages as u32 - 1), 0u32, slot + 1);
        step += 1usize;
        if step == steps {
            gpu_asm!("wgmma.wait_group.sync.aligned 0;");
            #[unroll]
            for i in 0..comptime!(plan.tiles) {
                write::<O, W>(
                    dw,
                    tile.row_tile + warpgroup * plan.tiles + i,
                    tile.token,
                    &extents,
                    i,
                    types,
                );
            }
            step = 0usize.runtime();
            index += CUBE_COUNT;
            let next = place(index, tiles_n, tiles_k, plan);
            tile.row_tile = next.row_tile;
            tile.token = next.token;
        }
    }
}

/// Starts the copies of 64 tokens, and closes the group whether there are any or not.
#[cube]
fn copy(
    ring: u32,
    dy_base: u64,
    x_base: u64,
    s_base: u64,
    ahead: &Ahead,
    count: usize,
    extents: &OuterExtents,
) {
    let plan = comptime!(PLAN);
    if ahead.index < count {
        let unit = UNIT_POS as usize;
        let stage = ring + ahead.slot * comptime!(STAGE_BYTES as u32);
        let first = ahead.step * 64;
        // Gradients: 64 outputs a row of 128 bytes, a row a token, the second 64 outputs 8192 bytes
        // on; the 16-byte line of number l at l xor (row mod 8).
        let (row, line) = (unit / 16, unit % 16);
        let to =
            stage + u32::cast_from((line / 8) * 8192 + row * 128 + ((line % 8) ^ (row % 8)) * 16);
        let offset = (ahead.token + line * 8) * 2;
        let row_bytes = extents.n * 2;
        let left = select(offset < row_bytes, row_bytes - offset, 0usize);
        let rows_per_pass = comptime!(plan.units() / 16);
        #[unroll]
        for pass in 0..comptime!(64 / rows_per_pass) {
            let token = first + row + comptime!(pass * rows_per_pass);
            let inside = token < extents.m && left > 0;
            let valid = select(inside, u32::cast_from(min(left, 16usize)), 0u32);
            let from = select(inside, token * extents.dy_stride + offset, 0usize);
            let target = comptime!((pass * rows_per_pass * 128) as u32);
            copy_async(to + target, dy_base + u64::cast_from(from), valid);
        }
        // Activations: the fragment tiles as they are.
        #[unroll]
        for pass in 0..comptime!(ACTIVATION_BYTES / 16 / plan.units()) {
            let line = unit + comptime!(pass * plan.units());
            let input_tile = ahead.row_tile + line / 256;
            let inside = input_tile < extents.input_tiles;
            let valid = select(inside, 16u32, 0u32);
            let from = (input_tile * extents.token_tiles + ahead.step) * 4096 + (line % 256) * 16;
            let from = select(inside, from, 0usize);
            let to = stage + comptime!(GRADIENT_BYTES as u32) + u32::cast_from(line) * 16;
            copy_async(to, x_base + u64::cast_from(from), valid);
        }
        if unit < 64 {
            let token = first + unit;
            let inside = token < extents.m;
            let valid = select(inside, 4u32, 0u32);
            let from = select(inside, token * 4, 0usize);
            let to = stage
                + comptime!((GRADIENT_BYTES + ACTIVATION_BYTES) as u32)
                + u32::cast_from(unit) * 4;
            copy_async_word(to, s_base + u64::cast_from(from), valid);
        }
    }
    copy_async_commit();
}

/// Starts the products of 16 tokens, and waits for those of the 16 before.
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
    let descriptor = ((stage + comptime!(2048 * slice as u32)) & 0x3FFFFu32) >> 4u32;
    let more = u32::cast_from(!first);
    #[unroll]
    for tile in 0..comptime!(plan.tiles) {
        start(
            registers[comptime!(4 * tile)],
            registers[comptime!(4 * tile + 1)],
            registers[comptime!(4 * tile + 2)],
            registers[comptime!(4 * tile + 3)],
            descriptor,
            more,
            tile,
            RightOperand::TokensInner,
            types,
            plan,
        );
    }
    gpu_asm!("wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 1;");
}

/// Stores the sums of 64 inputs of this warpgroup.
#[cube]
fn write<O: Float, W: Size>(
    dw: &mut [Vector<O, W>],
    input_tile: usize,
    output: usize,
    extents: &OuterExtents,
    #[comptime] part: usize,
    #[comptime] types: MmaType,
) {
    let plan = comptime!(PLAN);
    let unit = UNIT_POS as usize;
    let (warp, lane) = ((unit / 32) % 4, unit % 32);
    let input = input_tile * 64 + warp * 16 + 2 * (lane / 4);
    if input < extents.k {
        #[unroll]
        for j in 0..comptime!(plan.tokens / 8) {
            #[unroll]
            for e in 0..2usize {
                let row = output + comptime!(8 * j + e) + 2 * (lane % 4);
                if row < extents.n {
                    let at = comptime!(part * plan.tokens / 2 + 4 * j + e);
                    let first = O::cast_from(accumulator::<f32>(at, types));
                    let second = O::cast_from(accumulator::<f32>(comptime!(at + 2), types));
                    let both = input + 1 < extents.k;
                    store::<O, W>(dw, row * extents.dw_stride + input, first, second, both);
                }
            }
        }
    }
}
