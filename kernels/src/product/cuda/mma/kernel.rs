//! Device code of the warp GEMM.

use cubecl::prelude::*;
use tritburn_formats::WeightCode;

use super::base::MmaBlueprint;
use crate::device_code::MmaType;
use crate::device_code::epilogue::{row_pair, token_scale, write_pair};
use crate::device_code::fragments::{decode_half, decode_int8};
use crate::device_code::ptx::{
    copy_async_commit, copy_async_wait, global_address, load_line, load_matrices, mma,
    shared_address,
};
use crate::product::cuda::args::ProductArgs;
use crate::product::cuda::stage::{OutputTile, copy_stage, output_tile};

/// `y = x · Ŵᵀ + bias`, or the i32 sums if `integers`.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn mma_gemm<F: Numeric, A: Numeric, O: Numeric, B: Float, W: Size>(
    x: &[F],
    args: &ProductArgs<B>,
    y: &mut [Vector<O, W>],
    #[comptime] types: MmaType,
    #[comptime] plan: MmaBlueprint,
    #[define(F)] _x_type: ElemType,
    #[define(A)] _sum_type: ElemType,
    #[define(O)] _out_type: ElemType,
    #[define(B)] _bias_type: ElemType,
) {
    let shape = comptime!(plan.shape(types));
    let tiles_m = (args.extents.m + comptime!(plan.tokens() - 1)) / comptime!(plan.tokens());
    let tiles_n = (args.extents.n + comptime!(plan.rows() - 1)) / comptime!(plan.rows());
    if CUBE_POS >= tiles_m * tiles_n {
        terminate!();
    }
    let shared =
        Shared::<[u32]>::new_aligned_slice(comptime!(plan.shared_bytes(types) / 4), 128usize);
    let ring = shared_address::<u32>(&shared);
    let (x_base, w_base) = (global_address::<F>(x), global_address::<u32>(args.words));
    let tile = output_tile(CUBE_POS, tiles_m, tiles_n, comptime!(plan.group), shape);

    let stage_bytes = comptime!(shape.bytes() as u32);
    for stage in 0..comptime!(plan.stages - 1).runtime() {
        if stage < args.extents.col_tiles {
            let to = ring + stage as u32 * stage_bytes;
            copy_stage(to, x_base, w_base, &tile, stage, &args.extents, shape);
        }
        copy_async_commit();
    }

    let accumulators = comptime!(plan.accumulators());
    let mut acc = Array::<Vector<A, Const<4>>>::new(accumulators);
    #[unroll]
    for i in 0..accumulators {
        acc[i] = Vector::new(A::from_int(0));
    }

    let unit = UNIT_POS as usize;
    let (warp, lane) = (unit / 32, unit % 32);
    let (warp_n, warp_m) = (
        warp % comptime!(plan.warps_n),
        warp / comptime!(plan.warps_n),
    );
    // Lane l addresses row l mod 8 of the four 16-byte columns that one `ldmatrix` reads.
    let row = lane % 8;
    let first_token = warp_m * comptime!(plan.token_tiles * 8);
    let x_lane = u32::cast_from((first_token + row) * 128 + ((lane / 8) ^ row) * 16);
    let first_strip = warp_n * comptime!(plan.strips);
    let w_lane = comptime!(shape.x_bytes() as u32) + u32::cast_from(first_strip * 512 + lane * 16);

    let last = comptime!((plan.stages as u32 - 1) * stage_bytes);
    let mut from = 0u32.runtime();
    let mut to = last.runtime();
    let mut step = 0usize.runtime();
    while step < args.extents.col_tiles {
        copy_async_wait(comptime!(plan.stages - 2));
        sync_cube();
        // Refills the slot that the previous step has read.
        let ahead = step + comptime!(plan.stages - 1);
        if ahead < args.extents.col_tiles {
            copy_stage(
                ring + to,
                x_base,
                w_base,
                &tile,
                ahead,
                &args.extents,
                shape,
            );
        }
        copy_async_commit();
        multiply::<A>(
            ring + from,
            x_lane,
            w_lane,
            &mut acc,
            comptime!(args.code),
            types,
            plan,
        );
        to = from;
        from = select(from == last, 0u32, from + stage_bytes);
        step += 1usize;
    }

    #[unroll]
    for strip in 0..comptime!(plan.strips) {
        let tile = OutputTile {
            strip: tile.strip + first_strip + strip,
            token: tile.token + first_token,
        };
        write::<A, O, B, W>(args, y, &acc, &tile, strip, plan);
    }
}

/// Adds the products of one column tile, 64 bytes of activations (two `mma` deep) at a time.
#[cube]
fn multiply<A: Numeric>(
    stage: u32,
    x_lane: u32,
    w_lane: u32,
    acc: &mut Array<Vector<A, Const<4>>>,
    #[comptime] code: WeightCode,
    #[comptime] types: MmaType,
    #[comptime] plan: MmaBlueprint,
) {
    let mut held = Array::<Vector<u32, Const<4>>>::new(comptime!(plan.strips));
    #[unroll]
    for strip in 0..comptime!(plan.strips) {
        held[strip] = load_line(stage + w_lane + comptime!(512 * strip as u32));
    }
    #[unroll]
    for block in 0..comptime!(2 * types.size()) {
        let weights = decode(&held, block, code, types, plan);
        // In a swizzled row, the address of line l + 4 is that of line l with bit 6 flipped.
        let line = x_lane ^ comptime!(64 * (block as u32 % 2));
        let part = comptime!((block / 2 * plan.tokens() * 128) as u32);
        #[unroll]
        for tile in 0..comptime!(plan.token_tiles) {
            let x = load_matrices(stage + line + comptime!(part + 1024 * tile as u32));
            #[unroll]
            for depth in 0..2usize {
                #[unroll]
                for strip in 0..comptime!(plan.strips) {
                    let a = comptime!(8 * strip + 4 * depth);
                    let at = comptime!(strip * plan.token_tiles + tile);
                    acc[at] = mma::<A>(
                        weights[a],
                        weights[comptime!(a + 1)],
                        weights[comptime!(a + 2)],
                        weights[comptime!(a + 3)],
                        x.extract(comptime!(2 * depth)),
                        x.extract(comptime!(2 * depth + 1)),
                        acc[at],
                        types,
                    );
                }
            }
        }
    }
}

/// Decodes the weights that are multiplied with 64 bytes of activations: eight registers a strip, four
/// per `mma`. A word holds 32 columns, which are 32 bytes of int8 activations or 64 of half types.
#[cube]
fn decode(
    held: &Array<Vector<u32, Const<4>>>,
    #[comptime] block: usize,
    #[comptime] code: WeightCode,
    #[comptime] types: MmaType,
    #[comptime] plan: MmaBlueprint,
) -> Array<u32> {
    let mut weights = Array::<u32>::new(comptime!(8 * plan.strips));
    #[unroll]
    for strip in 0..comptime!(plan.strips) {
        #[unroll]
        for register in 0..8usize {
            weights[comptime!(8 * strip + register)] = match comptime!(types) {
                MmaType::Int8 => {
                    let word = held[strip].extract(comptime!(2 * block + register / 4));
                    decode_int8(word, comptime!(register as u32 % 4), code)
                }
                _ => decode_half(
                    held[strip].extract(block),
                    comptime!(register as u32),
                    code,
                    types,
                ),
            };
        }
    }
    weights
}

/// Rescales and stores the sums of one strip of this warp. `tile` begins at that strip and at the warp's
/// first token.
#[cube]
fn write<A: Numeric, O: Numeric, B: Float, W: Size>(
    args: &ProductArgs<B>,
    y: &mut [Vector<O, W>],
    acc: &Array<Vector<A, Const<4>>>,
    tile: &OutputTile,
    #[comptime] strip: usize,
    #[comptime] plan: MmaBlueprint,
) {
    let extents = &args.extents;
    let lane = UNIT_POS as usize % 32;
    let row = tile.strip * 16 + 2 * (lane / 4);
    if row < extents.n {
        let pair = row_pair::<B>(row, extents.n, args.row_scales, &args.bias, true);
        #[unroll]
        for t in 0..comptime!(plan.token_tiles) {
            #[unroll]
            for e in 0..2usize {
                let token = tile.token + comptime!(8 * t + e) + 2 * (lane % 4);
                if token < extents.m {
                    let sums = acc[comptime!(strip * plan.token_tiles + t)];
                    write_pair::<A, O, W>(
                        y,
                        token * extents.y_stride,
                        &pair,
                        token_scale(&args.x_scales, token, comptime!(args.integers)),
                        sums.extract(e),
                        sums.extract(comptime!(e + 2)),
                        comptime!(args.code),
                        comptime!(args.integers),
                    );
                }
            }
        }
    }
}
