//! Device code of the WMMA GEMM.

use cubecl::cmma::{self, Matrix, MatrixIdent, MatrixLayout};
use cubecl::prelude::*;
use tritburn_formats::WeightCode;

use super::base::WmmaBlueprint;
use crate::device_code::epilogue::{row_pair, token_scale, write_pair};
use crate::device_code::fragments::decode_int8;
use crate::device_code::ptx::{global_address, load_line, shared_address, store_word};
use crate::product::cuda::args::ProductArgs;
use crate::product::cuda::stage::{
    OutputTile, RowSpacing, await_stages, commit_stage, copy_stage, output_tile,
};

/// Bytes from row to row of the operands in shared memory.
const PITCH: usize = RowSpacing::Padded.pitch();

/// `y = x · Ŵᵀ + bias`, or the i32 sums if `integers`.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn wmma_gemm<O: Numeric, B: Float, W: Size>(
    x: &[u32],
    args: &ProductArgs<B>,
    y: &mut [Vector<O, W>],
    #[comptime] plan: WmmaBlueprint,
    #[define(O)] _out_type: ElemType,
    #[define(B)] _bias_type: ElemType,
) {
    let shape = comptime!(plan.shape());
    let tiles_m = (args.extents.m + comptime!(plan.tokens() - 1)) / comptime!(plan.tokens());
    let tiles_n = (args.extents.n + comptime!(plan.rows() - 1)) / comptime!(plan.rows());
    if CUBE_POS >= tiles_m * tiles_n {
        terminate!();
    }
    // The ring, then two column tiles of decoded weights.
    let shared = Shared::<[i8]>::new_aligned_slice(comptime!(plan.operand_bytes()), 128usize);
    let ring = shared_address::<i8>(&shared);
    let mut sums = Shared::<[i32]>::new_aligned_slice(
        comptime!(plan.warps_n * plan.warps_m * plan.window()),
        128usize,
    );
    let (x_base, w_base) = (global_address::<u32>(x), global_address::<u32>(args.words));
    let tile = output_tile(CUBE_POS, tiles_m, tiles_n, comptime!(plan.group), shape);

    for stage in 0..comptime!(plan.stages - 1).runtime() {
        if stage < args.extents.col_tiles {
            let to = ring + stage as u32 * comptime!(shape.bytes() as u32);
            copy_stage(to, x_base, w_base, &tile, stage, &args.extents, shape);
        }
        commit_stage(comptime!(shape.copies));
    }
    await_stages(comptime!(plan.stages - 2), comptime!(shape.copies));
    sync_cube();
    let decoded = comptime!(plan.stages * shape.bytes());
    let code = comptime!(args.code);
    decode(ring, ring + comptime!(decoded as u32), code, plan);

    let mut acc = Sequence::<Matrix<i32>>::new();
    #[unroll]
    for _ in 0..comptime!(plan.tiles_m * plan.tiles_n) {
        acc.push(Matrix::<i32>::from_value(
            MatrixIdent::Accumulator,
            comptime!(plan.fragment.m()),
            comptime!(plan.fragment.n()),
            comptime!(plan.fragment.k()),
            MatrixLayout::Undefined,
            0i32,
        ));
    }

    let warp = UNIT_POS as usize / 32;
    let (warp_n, warp_m) = (
        warp % comptime!(plan.warps_n),
        warp / comptime!(plan.warps_n),
    );
    let first_row = warp_n * comptime!(plan.tiles_n * plan.fragment.n());
    let first_token = warp_m * comptime!(plan.tiles_m * plan.fragment.m());

    let last = comptime!((plan.stages - 1) * shape.bytes());
    let mut from = 0usize.runtime();
    let mut to = last.runtime();
    let mut step = 0usize.runtime();
    while step < args.extents.col_tiles {
        await_stages(comptime!(plan.stages - 3), comptime!(shape.copies));
        sync_cube();
        // Refills the slot, and below the decoded weights, that the previous step has read.
        let ahead = step + comptime!(plan.stages - 1);
        if ahead < args.extents.col_tiles {
            copy_stage(
                ring + to as u32,
                x_base,
                w_base,
                &tile,
                ahead,
                &args.extents,
                shape,
            );
        }
        commit_stage(comptime!(shape.copies));
        let next = select(from == last, 0usize, from + comptime!(shape.bytes()));
        let weights = decoded + (step % 2) * comptime!(plan.decoded_bytes());
        if step + 1 < args.extents.col_tiles {
            let other = decoded + ((step + 1) % 2) * comptime!(plan.decoded_bytes());
            decode(ring + next as u32, ring + other as u32, code, plan);
        }
        multiply(
            &shared,
            from + first_token * PITCH,
            weights + first_row * PITCH,
            &mut acc,
            plan,
        );
        to = from;
        from = next;
        step += 1usize;
    }

    let window = warp * comptime!(plan.window());
    let tile = OutputTile {
        strip: tile.strip + first_row / 16,
        token: tile.token + first_token,
    };
    write::<O, B, W>(args, y, &acc, &mut sums, window, &tile, plan);
}

/// Decodes the words of the stage at `stage` to rows of 128 int8 at `to`. As in a fragment, rows `2g` and
/// `2g + 1` of a strip become rows `g` and `g + 8`; lanes then write to different banks.
#[cube]
fn decode(stage: u32, to: u32, #[comptime] code: WeightCode, #[comptime] plan: WmmaBlueprint) {
    let words = stage + comptime!(plan.shape().x_bytes() as u32);
    let lines = comptime!(plan.rows() * 2);
    #[unroll]
    for pass in 0..comptime!(lines.div_ceil(plan.units())) {
        let line = UNIT_POS as usize + comptime!(pass * plan.units());
        if comptime!((pass + 1) * plan.units() <= lines).runtime() || line < lines {
            let held = load_line(words + u32::cast_from(line) * 16);
            let lane = line % 32;
            let row = (line / 32) * 16 + lane / 4;
            let to = to + u32::cast_from(row * PITCH + (lane % 4) * 4);
            #[unroll]
            for slice in 0..4usize {
                let word = held.extract(slice);
                #[unroll]
                for register in 0..4usize {
                    let at =
                        comptime!(32 * slice + 16 * (register / 2) + 8 * PITCH * (register % 2));
                    let value = decode_int8(word, comptime!(register as u32), code);
                    store_word(to + comptime!(at as u32), value);
                }
            }
        }
    }
}

/// Adds the products of one column tile. `x` and `weights` are the offsets of this warp's rows.
#[cube]
fn multiply(
    shared: &[i8],
    x: usize,
    weights: usize,
    acc: &mut Sequence<Matrix<i32>>,
    #[comptime] plan: WmmaBlueprint,
) {
    let fragment = comptime!(plan.fragment);
    #[unroll]
    for block in 0..comptime!(128 / fragment.k()) {
        let column = comptime!(block * fragment.k());
        let mut right = Sequence::<Matrix<i8>>::new();
        #[unroll]
        for tile in 0..comptime!(plan.tiles_n) {
            let start = weights + comptime!(tile * fragment.n() * PITCH + column);
            right.push(load(shared, start, MatrixIdent::B, plan));
        }
        #[unroll]
        for tile_m in 0..comptime!(plan.tiles_m) {
            let start = x + comptime!(tile_m * fragment.m() * PITCH + column);
            let left = load(shared, start, MatrixIdent::A, plan);
            #[unroll]
            for tile_n in 0..comptime!(plan.tiles_n) {
                let at = comptime!(tile_m * plan.tiles_n + tile_n);
                let sum = acc.index(at);
                cmma::execute(&left, right.index(tile_n), sum, sum);
            }
        }
    }
}

/// A fragment whose rows start at `start`, [`PITCH`] bytes apart.
#[cube]
fn load(
    shared: &[i8],
    start: usize,
    #[comptime] ident: MatrixIdent,
    #[comptime] plan: WmmaBlueprint,
) -> Matrix<i8> {
    // A row of W is a column of the right operand.
    let layout = comptime!(match ident {
        MatrixIdent::A => MatrixLayout::RowMajor,
        _ => MatrixLayout::ColMajor,
    });
    Matrix::<i8>::from_slice(
        ident,
        comptime!(plan.fragment.m()),
        comptime!(plan.fragment.n()),
        comptime!(plan.fragment.k()),
        layout,
        &shared[start..start + 16],
        PITCH as u32,
    )
}

/// Rescales and stores the sums of this warp, one window of whole strips at a time: WMMA stores fragments to
/// shared memory, from where the lanes store outputs.
#[cube]
fn write<O: Numeric, B: Float, W: Size>(
    args: &ProductArgs<B>,
    y: &mut [Vector<O, W>],
    acc: &Sequence<Matrix<i32>>,
    sums: &mut [i32],
    window: usize,
    tile: &OutputTile,
    #[comptime] plan: WmmaBlueprint,
) {
    let extents = &args.extents;
    let fragment = comptime!(plan.fragment);
    let width = comptime!(plan.window_rows());
    let fragments = comptime!(width / fragment.n());
    let lane = UNIT_POS as usize % 32;
    // Consecutive lanes store consecutive pairs of rows of a token.
    let pairs = comptime!(width / 2);
    let within = lane % pairs;
    let column = (within / 8) * 16 + within % 8;
    #[unroll]
    for tile_m in 0..comptime!(plan.tiles_m) {
        #[unroll]
        for part in 0..comptime!(plan.tiles_n / fragments) {
            #[unroll]
            for i in 0..fragments {
                let at = comptime!(tile_m * plan.tiles_n + part * fragments + i);
                let start = window + comptime!(i * fragment.n());
                cmma::store(
                    &mut sums[start..start + 16],
                    acc.index(at),
                    comptime!(width as u32),
                    MatrixLayout::RowMajor,
                );
            }
            sync_plane();
            let row = tile.strip * 16 + comptime!(part * width) + 2 * within;
            if row < extents.n {
                let pair = row_pair::<B>(row, extents.n, args.row_scales, &args.bias, true);
                #[unroll]
                for pass in 0..comptime!(fragment.m() * pairs / 32) {
                    let local = lane / pairs + comptime!(pass * 32 / pairs);
                    let token = tile.token + comptime!(tile_m * fragment.m()) + local;
                    if token < extents.m {
                        let at = window + local * width + column;
                        write_pair::<i32, O, W>(
                            y,
                            token * extents.y_stride,
                            &pair,
                            token_scale(&args.x_scales, token, comptime!(args.integers)),
                            sums[at],
                            sums[at + 8],
                            comptime!(args.code),
                            comptime!(args.integers),
                        );
                    }
                }
            }
            sync_plane();
        }
    }
}
