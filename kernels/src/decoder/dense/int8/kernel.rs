//! Device code of the portable product of int8 rows.

use cubecl::prelude::*;

use super::super::base::DensePlan;
use super::super::kernel::place;
use super::base::Int8Plan;
use crate::device_code::decode::rounded_product;
use crate::device_code::team::{Fold, team_count};

/// Runtime sizes.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct Int8Extents {
    /// Tokens.
    pub tokens: usize,
    /// Rows of W.
    pub rows: usize,
    /// Lines of 16 codes of a row of W, and of a token.
    pub lines: usize,
    /// Row stride of y, in elements.
    pub y_stride: usize,
}

/// `y[t, v] = acc · (w_scale[v] · x_scale[t])`, `acc` the sum of the products of codes.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn int8_rows(
    x: &[Vector<u32, Const<4>>],
    x_scales: &[f32],
    w: &[Vector<u32, Const<4>>],
    w_scales: &[f32],
    y: &mut [f32],
    extents: Int8Extents,
    #[comptime] plan: Int8Plan,
) {
    let teams = comptime!(plan.teams);
    let place = place(extents.rows, teams);
    let (first, token) = (place.row, place.token);
    if token < extents.tokens {
        let mut acc = Array::<i32>::new(comptime!(teams.rows * teams.tokens));
        #[unroll]
        for i in 0..comptime!(teams.rows * teams.tokens) {
            acc[i] = 0i32;
        }
        let mut line = place.lane;
        while line < extents.lines {
            let mut held = Array::<Vector<u32, Const<4>>>::new(comptime!(teams.rows));
            #[unroll]
            for r in 0..comptime!(teams.rows) {
                held[r] = w[min(first + r, extents.rows - 1) * extents.lines + line];
            }
            #[unroll]
            for t in 0..comptime!(teams.tokens) {
                let xs = x[min(token + t, extents.tokens - 1) * extents.lines + line];
                #[unroll]
                for r in 0..comptime!(teams.rows) {
                    let i = comptime!(r * teams.tokens + t);
                    #[unroll]
                    for j in 0..4usize {
                        let (q, w) = (xs.extract(j), held[r].extract(j));
                        acc[i] = add_products(q, w, acc[i], plan);
                    }
                }
            }
            line += comptime!(teams.lanes);
        }
        #[unroll]
        for r in 0..comptime!(teams.rows) {
            #[unroll]
            for t in 0..comptime!(teams.tokens) {
                let sum = fold(acc[comptime!(r * teams.tokens + t)], teams);
                let row = first + r;
                if place.lane == 0 && row < extents.rows && token + t < extents.tokens {
                    let scale = rounded_product(w_scales[row], x_scales[token + t]);
                    y[(token + t) * extents.y_stride + row] =
                        rounded_product(f32::cast_from(sum), scale);
                }
            }
        }
    }
}

/// `acc` plus the products of the four codes of `a` and `b`.
#[cube]
fn add_products(a: u32, b: u32, acc: i32, #[comptime] plan: Int8Plan) -> i32 {
    match comptime!(plan.dp4a) {
        true => dp4a(i32::reinterpret(a), i32::reinterpret(b), acc),
        false => {
            let mut sum = acc;
            #[unroll]
            for i in 0..4u32 {
                sum += code(a, i) * code(b, i);
            }
            sum
        }
    }
}

/// Code `i` of a word.
#[cube]
fn code(word: u32, #[comptime] i: u32) -> i32 {
    i32::reinterpret(word << comptime!(24 - 8 * i).runtime()) >> 24i32
}

/// The sum over the lanes of a team.
#[cube]
fn fold(value: i32, #[comptime] plan: DensePlan) -> i32 {
    match comptime!(plan.fold) {
        Fold::Alone => value,
        Fold::Planes => plane_sum(value),
        Fold::Tree => {
            let mut shared = Shared::<[u32]>::new_slice(comptime!(plan.units));
            // Sums of two's complement wrap alike.
            let word = u32::reinterpret(value);
            let sum = team_count(word, &mut shared, 0usize, comptime!(plan.cube()));
            i32::reinterpret(sum)
        }
    }
}
