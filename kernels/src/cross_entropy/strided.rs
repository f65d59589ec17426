//! The loss on any device, for rows of any length and alignment: a row is read twice, the second time
//! for its gradient.

use cubecl::prelude::*;

use super::fold::{LOWEST, Terms, fold_team, gradient, row_loss};
use crate::device_code::team::{Team, team_place};

/// Loads that a unit has in flight, in lines.
const AHEAD: usize = 4;

/// One row per team. A unit processes the same lines in both passes, so that the gradient may
/// overwrite the logits.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn losses_of_rows<F: Float, V: Size>(
    logits: &[Vector<F, V>],
    targets: &[u32],
    label_weights: ComptimeOption<&[f32]>,
    losses: &mut [f32],
    weights: &mut [f32],
    mut gradients: ComptimeOption<&mut [Vector<F, V>]>,
    terms: Terms,
    #[comptime] team: Team,
    #[define(F)] _dtype: ElemType,
) {
    let width = V::value();
    let lanes = comptime!(team.lanes());
    let (row, lane) = team_place(team);
    if row < terms.rows {
        let mut shared = Shared::<[f32]>::new_slice(comptime!(2 * team.units));
        let start = row * terms.stride;
        let last = terms.lines - 1;
        let target = targets[row];
        let known = usize::cast_from(target) < terms.vocabulary;
        let at = select(known, usize::cast_from(target), 0usize);
        let line_of_target = logits[start + at / width];
        let mut picked = 0.0f32;
        #[unroll]
        for j in 0..width {
            let x = f32::cast_from(line_of_target.extract(j));
            picked = select(at % width == j, x, picked);
        }

        let mut top = comptime!(LOWEST).runtime();
        let mut sum = 0.0f32;
        let mut line = lane;
        while line < terms.lines {
            let mut held = Array::<Vector<F, V>>::new(comptime!(AHEAD));
            let mut best = top;
            #[unroll]
            for a in 0..comptime!(AHEAD) {
                held[a] = logits[start + min(line + comptime!(a * lanes), last)];
            }
            #[unroll]
            for a in 0..comptime!(AHEAD) {
                #[unroll]
                for j in 0..width {
                    best = max(best, f32::cast_from(held[a].extract(j)));
                }
            }
            let kept = sum * (top - best).exp();
            top = best;
            // The sum of a line is formed apart, so that its terms are rounded relative to that sum
            // and not to the sum of the row.
            sum = 0.0f32;
            #[unroll]
            for a in 0..comptime!(AHEAD) {
                let inside = line + comptime!(a * lanes) <= last;
                #[unroll]
                for j in 0..width {
                    let x = f32::cast_from(held[a].extract(j));
                    sum += select(inside, (x - top).exp(), 0.0f32);
                }
            }
            sum += kept;
            line += comptime!(AHEAD * lanes);
        }

        let (top, sum) = fold_team(top, sum, &mut shared, team);
        let result = row_loss(top, sum, picked, target, &label_weights, &terms);
        if lane == 0 {
            losses[row] = result.loss;
            weights[row] = result.weight;
        }
        #[comptime]
        if let ComptimeOption::Some(gradients) = &mut gradients {
            let mut line = lane;
            while line < terms.lines {
                let held = logits[start + line];
                let mut out = Vector::<F, V>::empty();
                #[unroll]
                for j in 0..width {
                    let x = f32::cast_from(held.extract(j));
                    let d = gradient(x, line * width + j, &result);
                    out.insert(j, F::cast_from(d));
                }
                gradients[row * terms.gradient_stride + line] = out;
                line += lanes;
            }
        }
    }
}
