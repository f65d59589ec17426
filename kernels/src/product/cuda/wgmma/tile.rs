//! The output tiles of clusters, and the order in which they are computed.

use cubecl::prelude::*;

use super::base::WgmmaBlueprint;

/// An output tile of a cube.
#[derive(CubeType, Clone, Copy)]
pub(crate) struct WarpgroupTile {
    /// First weight row, in tiles of 64.
    pub row_tile: usize,
    /// First token.
    pub token: usize,
}

/// Output tile `index`. Groups of `plan.group` token tiles advance together along the weight rows, so that
/// concurrent cubes share both operands in L2.
#[cube]
pub(crate) fn output_tile(
    index: usize,
    tiles_m: usize,
    tiles_n: usize,
    #[comptime] plan: WgmmaBlueprint,
) -> WarpgroupTile {
    let mut row_tile = index * comptime!(plan.multicast * plan.rows() / 64);
    let mut token = 0usize.runtime();
    // Skips the divisions where they are not needed, because a cube's first loads wait for them.
    if tiles_m > 1 && index < tiles_m * tiles_n {
        let per_group = tiles_n * comptime!(plan.group);
        let group = index / per_group;
        let within = index % per_group;
        let first = min(group * comptime!(plan.group), tiles_m - 1);
        let width = min(comptime!(plan.group).runtime(), tiles_m - first);
        row_tile = (within / width) * comptime!(plan.multicast * plan.rows() / 64);
        token = (first + within % width) * comptime!(plan.tokens);
    }
    WarpgroupTile { row_tile, token }
}

/// First weight row of this unit's sums in an output tile that begins at 64-row tile `row_tile`. In the
/// warpgroup's next 64-row tile it is 64 rows further.
#[cube]
pub(crate) fn first_row(row_tile: usize, #[comptime] plan: WgmmaBlueprint) -> usize {
    let unit = UNIT_POS as usize;
    let (warpgroup, warp, lane) = (unit / 128, (unit / 32) % 4, unit % 32);
    (row_tile + warpgroup * comptime!(plan.tiles)) * 64 + warp * 16 + 2 * (lane / 4)
}
