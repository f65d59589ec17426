//! The loss on GPUs with planes of 32: a row is read once and kept in registers.

use cubecl::prelude::*;

use super::fold::{LOWEST, Terms, fold_planes, gradient, row_loss};
use crate::rows::{RowTeams, team_of_row};

/// One row per team.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn losses_of_lines<F: Float, V: Size>(
    logits: &[Vector<F, V>],
    targets: &[u32],
    label_weights: ComptimeOption<&[f32]>,
    losses: &mut [f32],
    weights: &mut [f32],
    mut gradients: ComptimeOption<&mut [Vector<F, V>]>,
    terms: Terms,
    #[comptime] plan: RowTeams,
    #[define(F)] _dtype: ElemType,
) {
    let (team, unit) = team_of_row(plan);
    let width = V::value();
    let lines = comptime!(plan.lines);
    let units = comptime!(plan.units());
    let last = terms.lines - 1;
    let mut shared = Shared::<[f32]>::new_slice(comptime!(2 * plan.cube_planes()));
    // Teams past the end repeat the last row and store nothing, because every unit must reach the
    // barrier.
    let index = CUBE_POS * comptime!(plan.teams) + team;
    let live = index < terms.rows;
    let row = min(index, terms.rows - 1);

    let mut held = Array::<Vector<F, V>>::new(lines);
    #[unroll]
    for i in 0..lines {
        held[i] = logits[row * terms.stride + min(unit + comptime!(i * units), last)];
    }
    let target = targets[row];
    let mut top = comptime!(LOWEST).runtime();
    #[unroll]
    for i in 0..lines {
        #[unroll]
        for j in 0..width {
            // Units past the end of the row repeat its last line, which changes no maximum.
            top = max(top, f32::cast_from(held[i].extract(j)));
        }
    }
    let mut sum = 0.0f32;
    let mut picked = 0.0f32;
    #[unroll]
    for i in 0..lines {
        let line = unit + comptime!(i * units);
        #[unroll]
        for j in 0..width {
            let x = f32::cast_from(held[i].extract(j));
            sum += select(line <= last, (x - top).exp(), 0.0f32);
            let hit = line * width + j == usize::cast_from(target);
            picked = select(hit, x, picked);
        }
    }
    let (top, sum) = fold_planes(top, sum, &mut shared, plan);
    let result = row_loss(top, sum, picked, target, &label_weights, &terms);
    if live {
        // The logit of an unknown target is not used, so any column will do.
        let known = usize::cast_from(target) < terms.vocabulary;
        let line = select(known, usize::cast_from(target) / width, 0usize);
        if line % units == unit {
            losses[row] = result.loss;
            weights[row] = result.weight;
        }
        #[comptime]
        if let ComptimeOption::Some(gradients) = &mut gradients {
            #[unroll]
            for i in 0..lines {
                let line = unit + comptime!(i * units);
                if line <= last {
                    let mut out = Vector::<F, V>::empty();
                    #[unroll]
                    for j in 0..width {
                        let x = f32::cast_from(held[i].extract(j));
                        let d = gradient(x, line * width + j, &result);
                        out.insert(j, F::cast_from(d));
                    }
                    gradients[row * terms.gradient_stride + line] = out;
                }
            }
        }
    }
}
