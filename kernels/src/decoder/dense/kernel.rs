//! Device code of the portable dense product: the lanes of a team divide the columns of a few rows.

use cubecl::prelude::*;

use super::base::DensePlan;
use crate::device_code::team::{Fold, team_sum};

/// Runtime sizes.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(crate) struct DenseExtents {
    /// Tokens.
    pub tokens: usize,
    /// Rows of W.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Lines of a row of W.
    pub lines: usize,
    /// Row stride of W, in lines.
    pub w_stride: usize,
    /// Row stride of x, in elements.
    pub x_stride: usize,
    /// Row stride of y, in elements.
    pub y_stride: usize,
}

/// `y = x · Wᵀ`.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn dense<F: Float, W: Float, L: Size, V: Size>(
    x: &[Vector<F, L>],
    w: &[Vector<W, V>],
    y: &mut [f32],
    extents: DenseExtents,
    #[comptime] plan: DensePlan,
    #[define(F)] _x_type: ElemType,
    #[define(W)] _w_type: ElemType,
) {
    let x_width = L::value();
    let w_width = V::value();
    let lanes = comptime!(plan.lanes);
    let place = place(extents.rows, plan);
    let (first, token) = (place.row, place.token);
    if token < extents.tokens {
        let mut acc = Array::<f32>::new(comptime!(plan.rows * plan.tokens));
        #[unroll]
        for i in 0..comptime!(plan.rows * plan.tokens) {
            acc[i] = 0.0f32;
        }
        let mut line = place.lane;
        while line < extents.lines {
            let mut held = Array::<Vector<W, V>>::new(comptime!(plan.rows));
            #[unroll]
            for r in 0..comptime!(plan.rows) {
                held[r] = w[min(first + r, extents.rows - 1) * extents.w_stride + line];
            }
            #[unroll]
            for part in 0..comptime!(w_width / x_width) {
                let col = line * w_width + comptime!(part * x_width);
                // Lines may reach past the last column, where x counts as 0.
                let inside = col < extents.cols;
                #[unroll]
                for t in 0..comptime!(plan.tokens) {
                    let at = min(token + t, extents.tokens - 1) * extents.x_stride
                        + min(col, extents.cols - 1);
                    let xs = x[at / x_width];
                    #[unroll]
                    for j in 0..x_width {
                        let value = select(inside, f32::cast_from(xs.extract(j)), 0.0f32);
                        #[unroll]
                        for r in 0..comptime!(plan.rows) {
                            let weight = held[r].extract(comptime!(part * x_width + j));
                            acc[comptime!(r * plan.tokens + t)] += value * f32::cast_from(weight);
                        }
                    }
                }
            }
            line += lanes;
        }
        #[unroll]
        for r in 0..comptime!(plan.rows) {
            #[unroll]
            for t in 0..comptime!(plan.tokens) {
                let sum = fold(acc[comptime!(r * plan.tokens + t)], plan);
                let row = first + r;
                if place.lane == 0 && row < extents.rows && token + t < extents.tokens {
                    y[(token + t) * extents.y_stride + row] = sum;
                }
            }
        }
    }
}

/// The first output of a team, and which of its lanes this unit is.
#[derive(CubeType)]
pub(super) struct Place {
    pub row: usize,
    pub token: usize,
    pub lane: usize,
}

/// This unit's place in the product of `rows` rows.
#[cube]
pub(super) fn place(rows: usize, #[comptime] plan: DensePlan) -> Place {
    let unit = UNIT_POS as usize;
    let lanes = comptime!(plan.lanes);
    let (team, lane) = match comptime!(plan.fold) {
        Fold::Tree => (CUBE_POS, unit),
        _ => (
            CUBE_POS * comptime!(plan.teams()) + unit / lanes,
            unit % lanes,
        ),
    };
    let blocks = (rows + comptime!(plan.rows - 1)) / comptime!(plan.rows);
    Place {
        row: (team % blocks) * comptime!(plan.rows),
        token: (team / blocks) * comptime!(plan.tokens),
        lane,
    }
}

/// The sum over the lanes of a team.
#[cube]
fn fold(value: f32, #[comptime] plan: DensePlan) -> f32 {
    match comptime!(plan.fold) {
        Fold::Alone => value,
        Fold::Planes => plane_sum(value),
        Fold::Tree => {
            let mut shared = Shared::<[u32]>::new_slice(comptime!(plan.units));
            team_sum(value, &mut shared, 0usize, comptime!(plan.cube()))
        }
    }
}
