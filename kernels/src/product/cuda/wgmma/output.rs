//! From the accumulators of a warpgroup to outputs.

use cubecl::prelude::*;
use tritburn_formats::WeightCode;

use super::base::WgmmaBlueprint;
use super::product::accumulator;
use super::tile::{Tile, first_row};
use crate::device_code::MmaType;
use crate::device_code::epilogue::{RowPair, outputs, row_pair, store_line, token_scale};
use crate::product::cuda::stage::TileExtents;

/// What a unit multiplies its sums with.
#[derive(CubeType)]
pub(in crate::product::cuda) struct Scales {
    /// Its two weight rows in each 64-row tile.
    pub pairs: Sequence<RowPair>,
    /// Two tokens in each eight.
    pub tokens: Array<f32>,
}

/// Loads the scales and biases of this unit's outputs; early, so that nothing waits for them.
#[cube]
pub(in crate::product::cuda) fn load_scales<B: Float>(
    x_scales: &ComptimeOption<&[f32]>,
    row_scales: &[f32],
    bias: &ComptimeOption<&[B]>,
    extents: &TileExtents,
    tile: &Tile,
    #[comptime] integers: bool,
    #[comptime] plan: WgmmaBlueprint,
) -> Scales {
    let pairs = load_pairs::<B>(row_scales, bias, extents, tile.row_tile, plan);
    let mut tokens = Array::<f32>::new(comptime!(plan.tokens / 4));
    #[unroll]
    for i in 0..comptime!(plan.tokens / 4) {
        let token = tile.token + comptime!(8 * (i / 2) + i % 2) + 2 * (UNIT_POS as usize % 4);
        tokens[i] = token_scale(x_scales, min(token, extents.m - 1), integers);
    }
    Scales { pairs, tokens }
}

/// Loads the scales and biases of this unit's rows in the output tile that begins at 64-row tile
/// `row_tile`.
#[cube]
pub(in crate::product::cuda) fn load_pairs<B: Float>(
    row_scales: &[f32],
    bias: &ComptimeOption<&[B]>,
    extents: &TileExtents,
    row_tile: usize,
    #[comptime] plan: WgmmaBlueprint,
) -> Sequence<RowPair> {
    let mut pairs = Sequence::<RowPair>::new();
    #[unroll]
    for part in 0..comptime!(plan.tiles) {
        let row = first_row(row_tile, plan) + comptime!(64 * part);
        let row = min(row, extents.n - 1);
        pairs.push(row_pair::<B>(row, extents.n, row_scales, bias, true));
    }
    pairs
}

/// Rescales and stores the sums of this warpgroup: a tile inside of the matrix without a branch for each
/// pair of outputs, which would have every one wait for the last.
#[cube]
#[allow(clippy::too_many_arguments, reason = "the facts of an epilogue")]
pub(in crate::product::cuda) fn write<A: Numeric, O: Numeric, W: Size>(
    scales: &Scales,
    y: &mut [Vector<O, W>],
    extents: &TileExtents,
    tile: &Tile,
    #[comptime] code: WeightCode,
    #[comptime] integers: bool,
    #[comptime] types: MmaType,
    #[comptime] plan: WgmmaBlueprint,
) {
    let whole = tile.token + comptime!(plan.tokens) <= extents.m
        && tile.row_tile * 64 + comptime!(plan.rows()) <= extents.n;
    if whole {
        #[unroll]
        for part in 0..comptime!(plan.tiles) {
            write_part::<A, O, W>(
                scales, y, extents, tile, part, true, code, integers, types, plan,
            );
        }
    } else {
        #[unroll]
        for part in 0..comptime!(plan.tiles) {
            write_part::<A, O, W>(
                scales, y, extents, tile, part, false, code, integers, types, plan,
            );
        }
    }
}

/// The sums of one 64-row tile; `whole` says that all of them are inside of the matrix.
#[cube]
#[allow(clippy::too_many_arguments, reason = "the facts of an epilogue")]
fn write_part<A: Numeric, O: Numeric, W: Size>(
    scales: &Scales,
    y: &mut [Vector<O, W>],
    extents: &TileExtents,
    tile: &Tile,
    #[comptime] part: usize,
    #[comptime] whole: bool,
    #[comptime] code: WeightCode,
    #[comptime] integers: bool,
    #[comptime] types: MmaType,
    #[comptime] plan: WgmmaBlueprint,
) {
    let row = first_row(tile.row_tile, plan) + comptime!(64 * part);
    let token = tile.token + 2 * (UNIT_POS as usize % 4);
    if comptime!(whole).runtime() || (row < extents.n && token < extents.m) {
        let both = row + 1 < extents.n;
        let left = extents.m - token;
        // In lines of y: rows are whole lines where a line is more than an element.
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
                    code,
                    integers,
                );
                store_line::<O, W>(y, first + offset * pitch, pair.first, pair.second, both);
            }
        }
    }
}
