//! Products of a warp's rows with a tile.

use cubecl::prelude::*;

use super::base::FlashPlan;
use super::tile::{line_address, load_left};
use crate::device_code::MmaType;
use crate::device_code::ptx::{load_matrices, load_matrices_transposed, mma, pack_half};

/// Score of a masked position: below every other, and far from overflow.
pub(super) const LOWEST: f32 = -1e30;

/// What the rows are that a warp owns: queries or keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Side {
    Queries,
    Keys,
}

/// `count` accumulators of four registers, all zero.
#[cube]
pub(super) fn zeros(#[comptime] count: usize) -> Array<Vector<f32, Const<4>>> {
    let mut sums = Array::<Vector<f32, Const<4>>>::new(count);
    #[unroll]
    for i in 0..count {
        sums[i] = Vector::new(0.0f32);
    }
    sums
}

/// The scores `left · tileᵀ` of a warp's rows and the `plan.span` rows of the tile at `tile`. An
/// accumulator holds 16 rows × 8 columns; accumulators of one block of rows are adjacent.
#[cube]
pub(super) fn scores(
    left: &Array<u32>,
    tile: u32,
    #[comptime] plan: FlashPlan,
) -> Array<Vector<f32, Const<4>>> {
    let mut sums = zeros(comptime!(plan.blocks * plan.span / 8));
    #[unroll]
    for part in 0..comptime!(plan.dim / 32) {
        let mut own = Array::<u32>::new(comptime!(plan.blocks * 8));
        #[unroll]
        for block in 0..comptime!(plan.blocks) {
            #[unroll]
            for i in 0..8usize {
                own[comptime!(8 * block + i)] =
                    left[comptime!(block * plan.dim / 4 + 8 * part + i)];
            }
        }
        multiply_part(&own, tile, part, &mut sums, plan);
    }
    sums
}

/// As [`scores`], with the warp's rows in shared memory at `left`.
#[cube]
pub(super) fn scores_of_tile(
    left: u32,
    tile: u32,
    #[comptime] plan: FlashPlan,
) -> Array<Vector<f32, Const<4>>> {
    let mut sums = zeros(comptime!(plan.blocks * plan.span / 8));
    #[unroll]
    for part in 0..comptime!(plan.dim / 32) {
        let own = load_left(left, part, 1usize, plan);
        multiply_part(&own, tile, part, &mut sums, plan);
    }
    sums
}

/// Adds the products of 32 elements of the heads' dimension.
#[cube]
fn multiply_part(
    own: &Array<u32>,
    tile: u32,
    #[comptime] part: usize,
    sums: &mut Array<Vector<f32, Const<4>>>,
    #[comptime] plan: FlashPlan,
) {
    let lane = UNIT_POS as usize % 32;
    let address = tile + line_address(lane % 8, comptime!(4 * part) + lane / 8, plan);
    #[unroll]
    for n in 0..comptime!(plan.span / 8) {
        let right = load_matrices(address + comptime!((8 * n * plan.row_bytes()) as u32));
        #[unroll]
        for depth in 0..2usize {
            #[unroll]
            for block in 0..comptime!(plan.blocks) {
                let a = comptime!(8 * block + 4 * depth);
                let at = comptime!(block * plan.span / 8 + n);
                sums[at] = mma::<f32>(
                    own[a],
                    own[comptime!(a + 1)],
                    own[comptime!(a + 2)],
                    own[comptime!(a + 3)],
                    right.extract(comptime!(2 * depth)),
                    right.extract(comptime!(2 * depth + 1)),
                    sums[at],
                    comptime!(plan.types),
                );
            }
        }
    }
}

/// Applies the causal mask: sets the scores of keys after their query to [`LOWEST`]. The first score is
/// that of positions `query` and `key`.
#[cube]
pub(super) fn mask(
    sums: &mut Array<Vector<f32, Const<4>>>,
    query: usize,
    key: usize,
    #[comptime] side: Side,
    #[comptime] plan: FlashPlan,
) {
    let lane = UNIT_POS as usize % 32;
    let (row, column) = (lane / 4, 2 * (lane % 4));
    // Position of this lane's first query minus that of its first key.
    let behind = match comptime!(side) {
        Side::Queries => i32::cast_from(query + row) - i32::cast_from(key + column),
        Side::Keys => i32::cast_from(query + column) - i32::cast_from(key + row),
    };
    #[unroll]
    for i in 0..comptime!(plan.blocks * plan.span / 8) {
        let (block, n) = comptime!((i / (plan.span / 8), i % (plan.span / 8)));
        let sum = sums[i];
        let mut masked = Vector::<f32, Const<4>>::empty();
        #[unroll]
        for e in 0..4usize {
            // Column minus row of this score, relative to the lane's first.
            let ahead = comptime!((8 * n + e % 2) as i32 - (16 * block + e / 2 * 8) as i32);
            let seen = match comptime!(side) {
                Side::Queries => comptime!(ahead) <= behind,
                Side::Keys => comptime!(-ahead) <= behind,
            };
            let lowest = comptime!(LOWEST).runtime();
            masked.insert(e, select(seen, sum.extract(e), lowest));
        }
        sums[i] = masked;
    }
}

/// Rounds accumulators to half precision: the left operand of the next product.
#[cube]
pub(super) fn to_left(
    sums: &Array<Vector<f32, Const<4>>>,
    #[comptime] plan: FlashPlan,
) -> Array<u32> {
    let types = comptime!(plan.types);
    let count = comptime!(plan.blocks * plan.span / 8);
    let mut left = Array::<u32>::new(comptime!(2 * count));
    #[unroll]
    for i in 0..count {
        let held = sums[i];
        left[comptime!(2 * i)] = pack_half(held.extract(0usize), held.extract(1usize), types);
        left[comptime!(2 * i + 1)] = pack_half(held.extract(2usize), held.extract(3usize), types);
    }
    left
}

/// Adds `left · tile` to `sums`: `left` holds weights of the `plan.span` rows of the tile at `tile`, and
/// `sums` has `plan.dim / 8` accumulators per block.
#[cube]
pub(super) fn add_weighted(
    left: &Array<u32>,
    tile: u32,
    sums: &mut Array<Vector<f32, Const<4>>>,
    #[comptime] plan: FlashPlan,
) {
    let lane = UNIT_POS as usize % 32;
    #[unroll]
    for depth in 0..comptime!(plan.span / 16) {
        #[unroll]
        for pair in 0..comptime!(plan.dim / 16) {
            let line = comptime!(2 * pair) + lane / 16;
            let address = tile + line_address(lane % 16, line, plan);
            let right = load_matrices_transposed(
                address + comptime!((16 * depth * plan.row_bytes()) as u32),
            );
            #[unroll]
            for n in 0..2usize {
                #[unroll]
                for block in 0..comptime!(plan.blocks) {
                    let a = comptime!(4 * (block * plan.span / 16 + depth));
                    let at = comptime!(block * plan.dim / 8 + 2 * pair + n);
                    sums[at] = mma::<f32>(
                        left[a],
                        left[comptime!(a + 1)],
                        left[comptime!(a + 2)],
                        left[comptime!(a + 3)],
                        right.extract(comptime!(2 * n)),
                        right.extract(comptime!(2 * n + 1)),
                        sums[at],
                        comptime!(plan.types),
                    );
                }
            }
        }
    }
}

/// Stores block `block` of `sums` to rows from `first` on. The lower 8 rows are multiplied by `low`, the
/// upper 8 by `high`. The head's first row starts at pair `start`.
#[cube]
#[allow(
    clippy::too_many_arguments,
    reason = "the place of rows and their factors"
)]
pub(super) fn store_block(
    sums: &Array<Vector<f32, Const<4>>>,
    low: f32,
    high: f32,
    to: &mut [u32],
    start: usize,
    stride: usize,
    first: usize,
    length: usize,
    #[comptime] block: usize,
    #[comptime] plan: FlashPlan,
) {
    let types: MmaType = comptime!(plan.types);
    let lane = UNIT_POS as usize % 32;
    let row = first + comptime!(16 * block) + lane / 4;
    let at = start + row * stride + lane % 4;
    #[unroll]
    for i in 0..comptime!(plan.dim / 8) {
        let held = sums[comptime!(block * plan.dim / 8 + i)];
        if row < length {
            to[at + comptime!(4 * i)] = pack_half(
                held.extract(0usize) * low,
                held.extract(1usize) * low,
                types,
            );
        }
        if row + 8 < length {
            to[at + 8 * stride + comptime!(4 * i)] = pack_half(
                held.extract(2usize) * high,
                held.extract(3usize) * high,
                types,
            );
        }
    }
}
