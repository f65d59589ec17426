//! Device code of the portable dense product: the lanes of a team divide the columns of a few rows.

use cubecl::prelude::*;

use super::base::DensePlan;
use crate::device_code::team::{Fold, Team, team_sum};

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

/// `y = x · Wᵀ`. With `scales`, `W` is u32 words of four int8 codes; without, `W` is float.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn dense<F: Float, W: Numeric, L: Size, V: Size>(
    x: &[Vector<F, L>],
    w: &[Vector<W, V>],
    scales: ComptimeOption<&[f32]>,
    y: &mut [f32],
    extents: DenseExtents,
    #[comptime] plan: DensePlan,
    #[define(F)] _x_type: ElemType,
    #[define(W)] _w_type: ElemType,
) {
    let x_width = L::value();
    let w_width = V::value();
    let int8 = comptime!(scales.is_some());
    let values = comptime!(if int8 { 4 * w_width } else { w_width });
    let lanes = comptime!(plan.lanes);
    let unit = UNIT_POS as usize;
    let (team, lane) = match comptime!(plan.fold) {
        Fold::Tree => (CUBE_POS, unit),
        _ => (
            CUBE_POS * comptime!(plan.teams()) + unit / lanes,
            unit % lanes,
        ),
    };
    let blocks = (extents.rows + comptime!(plan.rows - 1)) / comptime!(plan.rows);
    let first = (team % blocks) * comptime!(plan.rows);
    let token = (team / blocks) * comptime!(plan.tokens);
    if token < extents.tokens {
        let mut acc = Array::<f32>::new(comptime!(plan.rows * plan.tokens));
        #[unroll]
        for i in 0..comptime!(plan.rows * plan.tokens) {
            acc[i] = 0.0f32;
        }
        let mut line = lane;
        while line < extents.lines {
            let mut held = Array::<Vector<W, V>>::new(comptime!(plan.rows));
            #[unroll]
            for r in 0..comptime!(plan.rows) {
                held[r] = w[min(first + r, extents.rows - 1) * extents.w_stride + line];
            }
            #[unroll]
            for part in 0..comptime!(values / x_width) {
                let col = line * values + comptime!(part * x_width);
                // Words of codes may reach past the last column, where x counts as 0.
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
                            let weight =
                                weight::<W, V>(held[r], comptime!(part * x_width + j), int8);
                            acc[comptime!(r * plan.tokens + t)] += value * weight;
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
                let mut sum = fold(acc[comptime!(r * plan.tokens + t)], plan);
                let row = first + r;
                if lane == 0 && row < extents.rows && token + t < extents.tokens {
                    #[comptime]
                    if let ComptimeOption::Some(scales) = scales {
                        sum *= scales[row];
                    }
                    y[(token + t) * extents.y_stride + row] = sum;
                }
            }
        }
    }
}

/// Weight `i` of a line.
#[cube]
fn weight<W: Numeric, V: Size>(
    line: Vector<W, V>,
    #[comptime] i: usize,
    #[comptime] int8: bool,
) -> f32 {
    if comptime!(int8) {
        let word = u32::cast_from(line.extract(comptime!(i / 4))) ^ 0x8080_8080u32;
        // The byte is placed in the mantissa of 2²³, which is subtracted afterwards.
        let byte = (word >> comptime!(8 * (i as u32 % 4)).runtime()) & 0xFFu32;
        f32::reinterpret(byte | 0x4B00_0000u32) - 8_388_736.0f32
    } else {
        f32::cast_from(line.extract(i))
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
            let team = comptime!(Team {
                units: plan.units,
                fold: plan.fold
            });
            team_sum(value, &mut shared, 0usize, team)
        }
    }
}
