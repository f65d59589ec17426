//! Device code of the tensor-core GEMV.

use cubecl::prelude::*;
use tritburn_formats::WeightCode;

use super::base::SkinnyBlueprint;
use super::product::{load_staged, multiply};
use super::quantize::{WarpMemory, quantize_own};
use super::stage::{stage_elements, stage_lines, stage_own};
use crate::device_code::epilogue::{row_pair, token_scale, write_pair};
use crate::device_code::ptx::{global_address, load_floats, load_once, shared_address};
use crate::operand::FloatType;
use crate::prepack::TILE_COLS;
use crate::product::cuda::MmaInput;

/// Runtime sizes.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct SkinnyExtents {
    /// Tokens.
    pub m: usize,
    /// Weight rows.
    pub n: usize,
    /// Columns.
    pub k: usize,
    /// Tiles of 128 columns.
    pub col_tiles: usize,
    /// Tiles of 64 rows.
    pub row_tiles: usize,
    /// Row stride of x, in elements (words of four if int8).
    pub x_stride: usize,
    /// Row stride of y, in elements.
    pub y_stride: usize,
}

/// `y = x · Ŵᵀ + bias`, or the i32 sums if `integers`, for `plan.tokens` tokens a cube.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn skinny<F: Numeric, A: Numeric, O: Numeric, B: Float, W: Size>(
    x: &[F],
    x_scales: ComptimeOption<&[f32]>,
    words: &[Vector<u32, Const<4>>],
    row_scales: &[f32],
    bias: ComptimeOption<&[B]>,
    y: &mut [Vector<O, W>],
    extents: SkinnyExtents,
    #[comptime] code: WeightCode,
    #[comptime] operand: MmaInput,
    #[comptime] dtype: FloatType,
    #[comptime] whole_lines: bool,
    #[comptime] integers: bool,
    #[comptime] plan: SkinnyBlueprint,
    #[define(F)] _x_type: ElemType,
    #[define(A)] _sum_type: ElemType,
    #[define(O)] _out_type: ElemType,
    #[define(B)] _bias_type: ElemType,
) {
    let accumulators = comptime!(plan.accumulators(operand));
    let mut shared =
        Shared::<[u32]>::new_aligned_slice(comptime!(plan.shared_words(operand)), 128usize);
    let stage = shared_address::<u32>(&shared);

    let unit = UNIT_POS as usize;
    let (warp, lane) = (unit / 32, unit % 32);
    let single = comptime!(plan.strips == 1);
    let (mut split, mut mine) = (warp, unit);
    if comptime!(!single) {
        split = warp % comptime!(plan.splits);
        mine = unit % comptime!(32 * plan.splits);
    }
    let cubes_n = (extents.n + comptime!(plan.strips * 16 - 1)) / comptime!(plan.strips * 16);
    // A single pass over the weights needs no division, which would delay the first load.
    let mut token = 0usize.runtime();
    let mut cube = CUBE_POS;
    if extents.m > comptime!(plan.tokens) {
        token = (CUBE_POS / cubes_n) * comptime!(plan.tokens);
        cube = CUBE_POS % cubes_n;
    }
    // Warps past the last strip repeat it and store nothing, because every warp must reach the barriers.
    // With one strip per cube there are none: a CUDA grid has exactly the requested cubes.
    let (mut strip, mut readable) = (cube, cube);
    if comptime!(!single) {
        strip = cube * comptime!(plan.strips) + warp / comptime!(plan.splits);
        readable = min(strip, extents.row_tiles * 4 - 1);
    }
    let first = (readable / 4) * extents.col_tiles * 128 + (readable % 4) * 32 + lane;
    let base = global_address::<Vector<u32, Const<4>>>(words) + u64::cast_from(first) * 16;
    let mut live = 1usize.runtime();
    if comptime!(plan.tokens > 1) {
        live = min(comptime!(plan.tokens).runtime(), extents.m - token);
    }

    // This warp multiplies every `plan.splits`-th column tile. Tiles pass through a ring of registers; a
    // register is refilled as soon as its tile is multiplied, across chunks.
    let mut tile = split;
    let mut held = Array::<Vector<u32, Const<4>>>::new(comptime!(plan.ahead));
    #[unroll]
    for i in 0..comptime!(plan.ahead) {
        let at = tile + comptime!(i * plan.splits);
        held[i] = Vector::new(0u32);
        if at < extents.col_tiles {
            held[i] = load_once(base + u64::cast_from(at * 2048));
        }
    }
    // The epilogue's operands are loaded early, to hide the latency of DRAM.
    let row = strip * 16 + 2 * (mine % 8);
    // Units that store nothing load nothing, to keep the memory queues short.
    let writes = mine < comptime!(8 * plan.tokens);
    let pair = row_pair::<B>(
        min(row, extents.n - 1),
        extents.n,
        row_scales,
        &bias,
        writes,
    );
    let mut scales = Array::<f32>::new(comptime!(plan.passes()));
    #[unroll]
    for pass in 0..comptime!(plan.passes()) {
        let local = mine / 8 + comptime!(4 * plan.splits * pass);
        scales[pass] = 1.0f32;
        if writes {
            scales[pass] = token_scale(&x_scales, token + min(local, live - 1), integers);
        }
    }

    let mut acc = Array::<Vector<A, Const<4>>>::new(accumulators);
    #[unroll]
    for i in 0..accumulators {
        acc[i] = Vector::new(A::from_int(0));
    }
    let matrix = u32::cast_from(lane / 8) * 16;
    if comptime!(plan.per_warp) {
        let bytes = comptime!((TILE_COLS * operand.types.size()) as u32);
        let own = stage + u32::cast_from(warp) * comptime!(plan.ahead as u32 * bytes);
        // Keeps the loads above before the wait below. ptxas would move some after it, to save
        // registers.
        sync_plane();
        if comptime!(plan.quantizes) {
            let all = comptime!((plan.strips * plan.splits * plan.ahead) as u32 * bytes);
            let memory = WarpMemory {
                codes: own,
                maxima: stage + all + u32::cast_from(warp - split) * 4,
                split: u32::cast_from(split),
            };
            scales[0] = quantize_own::<F>(x, &memory, &extents, token, tile, dtype, plan);
        } else {
            stage_own::<F>(x, own, &extents, token, tile, operand, plan);
        }
        #[unroll]
        for i in 0..comptime!(plan.ahead) {
            // Activations past the last tile are zeros. The single token serves as all 8 of the `mma`.
            let right = load_staged(own + matrix + comptime!(i as u32 * bytes), operand);
            acc[0] = multiply::<A>(held[i], &right, acc[0], code, operand);
        }
    } else {
        let mut chunk = 0usize.runtime();
        while chunk < extents.col_tiles {
            let end = min(chunk + comptime!(plan.chunk), extents.col_tiles);
            if chunk > 0 {
                sync_cube();
            }
            if comptime!(whole_lines) {
                stage_lines::<F>(x, stage, &extents, token, live, chunk, end, operand, plan);
            } else {
                stage_elements::<F>(
                    x,
                    &mut shared,
                    &extents,
                    token,
                    live,
                    chunk,
                    end,
                    operand,
                    plan,
                );
            }
            sync_cube();
            while tile < end {
                #[unroll]
                for i in 0..comptime!(plan.ahead) {
                    let at = tile + comptime!(i * plan.splits);
                    if at < end {
                        let offset = u32::cast_from(at - chunk)
                            * comptime!(128 * operand.types.size() as u32);
                        #[unroll]
                        for sum in 0..accumulators {
                            let (eight, term) =
                                comptime!((sum / operand.terms, sum % operand.terms));
                            // Tokens past the last repeat it; their sums are not stored.
                            let there = min(comptime!(8 * eight) + lane % 8, live - 1);
                            let row = comptime!(term * plan.tokens) + there;
                            let line = u32::cast_from(row * comptime!(plan.pitch(operand)))
                                + matrix
                                + offset;
                            let right = load_staged(stage + line, operand);
                            acc[sum] = multiply::<A>(held[i], &right, acc[sum], code, operand);
                        }
                        let next = at + comptime!(plan.ahead * plan.splits);
                        if next < extents.col_tiles {
                            held[i] = load_once(base + u64::cast_from(next * 2048));
                        }
                    }
                }
                tile += comptime!(plan.ahead * plan.splits);
            }
            chunk += comptime!(plan.chunk);
        }
    }

    let sums = comptime!(plan.sums_at(operand));
    if comptime!(sums == 0) {
        // The sums overwrite the activations.
        sync_cube();
    }
    publish::<A>(&mut shared, &acc, sums, warp, lane, operand, plan);
    sync_cube();
    if row < extents.n {
        let strip_sums = (warp - split) * comptime!(16 * plan.tokens) + 2 * (mine % 8);
        let strip_sums = stage + u32::cast_from(comptime!(sums) + strip_sums) * 4;
        #[unroll]
        for pass in 0..comptime!(plan.passes()) {
            let local = mine / 8 + comptime!(4 * plan.splits * pass);
            if local < live {
                // Adds the sums of the strip's warps in ascending order.
                let at = strip_sums + u32::cast_from(local) * 64;
                let mut sum0 = A::from_int(0);
                let mut sum1 = A::from_int(0);
                #[unroll]
                for other in 0..comptime!(plan.splits) {
                    let both = load_floats(at + comptime!((64 * plan.tokens * other) as u32));
                    if comptime!(other == 0) {
                        sum0 = A::reinterpret(both.extract(0usize));
                        sum1 = A::reinterpret(both.extract(1usize));
                    } else {
                        sum0 += A::reinterpret(both.extract(0usize));
                        sum1 += A::reinterpret(both.extract(1usize));
                    }
                }
                write_pair::<A, O, W>(
                    y,
                    (token + local) * extents.y_stride,
                    &pair,
                    scales[pass],
                    sum0,
                    sum1,
                    code,
                    integers,
                );
            }
        }
    }
}

/// Stores this warp's sums, 16 rows of every token, in shared memory for the strip's other warps.
#[cube]
fn publish<A: Numeric>(
    shared: &mut [u32],
    acc: &Array<Vector<A, Const<4>>>,
    #[comptime] sums: usize,
    warp: usize,
    lane: usize,
    #[comptime] operand: MmaInput,
    #[comptime] plan: SkinnyBlueprint,
) {
    #[unroll]
    for tile in 0..comptime!(plan.token_tiles()) {
        #[unroll]
        for e in 0..2usize {
            let local = comptime!(8 * tile + e) + 2 * (lane % 4);
            if local < comptime!(plan.tokens) {
                let first = comptime!(tile * operand.terms);
                let mut sum0 = acc[first].extract(e);
                let mut sum1 = acc[first].extract(comptime!(2 + e));
                #[unroll]
                for term in 1..comptime!(operand.terms) {
                    sum0 += acc[comptime!(first + term)].extract(e);
                    sum1 += acc[comptime!(first + term)].extract(comptime!(2 + e));
                }
                let at = sums + (warp * comptime!(plan.tokens) + local) * 16 + 2 * (lane / 4);
                shared[at] = u32::reinterpret(sum0);
                shared[at + 1] = u32::reinterpret(sum1);
            }
        }
    }
}
