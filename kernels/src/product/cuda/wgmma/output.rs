//! Stores the accumulators of a warpgroup as outputs.

use cubecl::prelude::*;

use super::base::WgmmaBlueprint;
use super::product::accumulator;
use super::tile::{WarpgroupTile, first_row};
use crate::device_code::MmaType;
use crate::device_code::epilogue::{RowPair, outputs, row_pair, store_line, token_scale};
use crate::product::cuda::args::ProductArgs;

/// The scales and biases of a unit's outputs.
#[derive(CubeType)]
pub(in crate::product::cuda) struct Scales {
    /// Those of the unit's two weight rows, per 64-row tile.
    pub pairs: Sequence<RowPair>,
    /// Those of the unit's two tokens, per group of 8.
    pub tokens: Array<f32>,
}

/// Loads the scales and biases of this unit's outputs. Called early, to hide the latency.
#[cube]
pub(in crate::product::cuda) fn load_scales<B: Float>(
    args: &ProductArgs<B>,
    tile: &WarpgroupTile,
    #[comptime] plan: WgmmaBlueprint,
) -> Scales {
    let pairs = load_pairs::<B>(args, tile.row_tile, plan);
    let mut tokens = Array::<f32>::new(comptime!(plan.tokens / 4));
    #[unroll]
    for i in 0..comptime!(plan.tokens / 4) {
        let token = tile.token + comptime!(8 * (i / 2) + i % 2) + 2 * (UNIT_POS as usize % 4);
        let token = min(token, args.extents.m - 1);
        tokens[i] = token_scale(&args.x_scales, token, comptime!(args.integers));
    }
    Scales { pairs, tokens }
}

/// Loads the scales and biases of this unit's rows in the output tile that begins at 64-row tile
/// `row_tile`.
#[cube]
pub(in crate::product::cuda) fn load_pairs<B: Float>(
    args: &ProductArgs<B>,
    row_tile: usize,
    #[comptime] plan: WgmmaBlueprint,
) -> Sequence<RowPair> {
    let rows = args.extents.n;
    let mut pairs = Sequence::<RowPair>::new();
    #[unroll]
    for part in 0..comptime!(plan.tiles) {
        let row = first_row(row_tile, plan) + comptime!(64 * part);
        let row = min(row, rows - 1);
        pairs.push(row_pair::<B>(row, rows, args.row_scales, &args.bias, true));
    }
    pairs
}

/// Rescales and stores the sums of this warpgroup. A tile inside of the matrix is stored without a
/// branch per pair of outputs, as branches would serialise the stores.
#[cube]
pub(in crate::product::cuda) fn write<A: Numeric, O: Numeric, B: Float, W: Size>(
    args: &ProductArgs<B>,
    scales: &Scales,
    y: &mut [Vector<O, W>],
    tile: &WarpgroupTile,
    #[comptime] types: MmaType,
    #[comptime] plan: WgmmaBlueprint,
) {
    let whole = tile.token + comptime!(plan.tokens) <= args.extents.m
        && tile.row_tile * 64 + comptime!(plan.rows()) <= args.extents.n;
    if whole {
        #[unroll]
        for part in 0..comptime!(plan.tiles) {
            write_part::<A, O, B, W>(args, scales, y, tile, part, true, types, plan);
        }
    } else {
        #[unroll]
        for part in 0..comptime!(plan.tiles) {
            write_part::<A, O, B, W>(args, scales, y, tile, part, false, types, plan);
        }
    }
}

/// Stores the sums of one 64-row tile. `whole`: all of them are inside of the matrix.
#[cube]
#[allow(clippy::too_many_arguments, reason = "the facts of an epilogue")]
fn write_part<A: Numeric, O: Numeric, B: Float, W: Size>(
    args: &ProductArgs<B>,
    scales: &Scales,
    y: &mut [Vector<O, W>],
    tile: &WarpgroupTile,
    #[comptime] part: usize,
    #[comptime] whole: bool,
    #[comptime] types: MmaType,
    #[comptime] plan: WgmmaBlueprint,
) {
    let extents = &args.extents;
    let row = first_row(tile.row_tile, plan) + comptime!(64 * part);
    let token = tile.token + 2 * (UNIT_POS as usize % 4);
    if comptime!(whole).runtime() || (row < extents.n && token < extents.m) {
        let both = row + 1 < extents.n;
        let left = extents.m - token;
        // Counted in lines of y. If a line is two elements, rows are made of whole lines.
        let width = W::value();
        let first = (token * extents.y_stride + row) / width;
        let pitch = extents.y_stride / width;
        #[unroll]
        for i in 0..comptime!(plan.tokens / 4) {
            let offset = comptime!(8 * (i / 2) + i % 2);
            if comptime!(whole).runtime() || offset < left {
                let at = comptime!(part * plan.tokens / 2 + 4 * (i / 2) + i % 2);
                let pair = outputs::<A, O>(
                    &scales.pairs[part],
                    scales.tokens[i],
                    accumulator::<A>(at, types),
                    accumulator::<A>(comptime!(at + 2), types),
                    comptime!(args.code),
                    comptime!(args.integers),
                );
                store_line::<O, W>(y, first + offset * pitch, pair.first, pair.second, both);
            }
        }
    }
}
