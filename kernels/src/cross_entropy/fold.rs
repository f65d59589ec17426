//! Device code: softmax statistics of a row, combined across units, and the loss and gradient that
//! follow from them.

use cubecl::prelude::*;

use crate::device_code::decode::nan_of;
use crate::device_code::team::{Fold, Team};
use crate::rows::RowTeams;

/// Initial maximum of a row. Finite, because with -inf a row of -inf would compute `exp(-inf + inf)`,
/// which is NaN.
pub(super) const LOWEST: f32 = f32::MIN;

/// Runtime sizes and the options of the loss.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct Terms {
    /// Rows.
    pub rows: usize,
    /// Columns, in elements.
    pub vocabulary: usize,
    /// Columns, in lines.
    pub lines: usize,
    /// Row stride of the logits, in lines.
    pub stride: usize,
    /// Row stride of the gradient, in lines.
    pub gradient_stride: usize,
    /// Target that marks a token as ignored, if `ignores` is 1.
    pub ignore: u32,
    /// 1 if tokens can be ignored, else 0.
    pub ignores: u32,
    /// Factor of `lse²`.
    pub z_loss: f32,
}

/// The loss of a row and the factors of its gradient, `scale · p[v] − weight · (v = target)`.
#[derive(CubeType, Clone, Copy)]
pub(super) struct RowLoss {
    pub loss: f32,
    pub weight: f32,
    pub scale: f32,
    pub lse: f32,
    pub target: u32,
    pub ignored: bool,
}

/// The loss of a row whose maximum is `top` and whose sum of `exp(x - top)` is `sum`. `picked` is the
/// target's logit.
#[cube]
pub(super) fn row_loss(
    top: f32,
    sum: f32,
    picked: f32,
    target: u32,
    label_weights: &ComptimeOption<&[f32]>,
    terms: &Terms,
) -> RowLoss {
    let lse = top + sum.ln();
    let ignored = terms.ignores == 1 && target == terms.ignore;
    let known = usize::cast_from(target) < terms.vocabulary;
    let mut weight = 1.0f32;
    #[comptime]
    if let ComptimeOption::Some(weights) = label_weights {
        weight = weights[select(known, usize::cast_from(target), 0usize)];
    }
    weight = select(ignored, 0.0f32, weight);
    let nan = nan_of(target);
    let loss = weight * (lse - picked + terms.z_loss * (lse * lse));
    let scale = weight * (1.0f32 + 2.0f32 * terms.z_loss * lse);
    RowLoss {
        loss: select(ignored, 0.0f32, select(known, loss, nan)),
        weight,
        scale: select(known, scale, nan),
        lse,
        target,
        ignored,
    }
}

/// The gradient of logit `x` in column `col`.
#[cube]
pub(super) fn gradient(x: f32, col: usize, row: &RowLoss) -> f32 {
    let p = (x - row.lse).exp();
    let hit = select(col == usize::cast_from(row.target), row.weight, 0.0f32);
    select(row.ignored, 0.0f32, row.scale * p - hit)
}

/// Combines the units' `(maximum, sum)` pairs over a team of planes; every unit of the team gets the
/// result. `shared` has `2 · plan.cube_planes()` words and must not be reused without a barrier.
#[cube]
pub(super) fn fold_planes(
    top: f32,
    sum: f32,
    shared: &mut [f32],
    #[comptime] plan: RowTeams,
) -> (f32, f32) {
    let mut best = plane_max(top);
    let mut total = plane_sum(sum * (top - best).exp());
    if comptime!(plan.planes > 1) {
        let planes = comptime!(plan.planes);
        let cube_planes = comptime!(plan.cube_planes());
        let unit = UNIT_POS as usize;
        let (plane, lane) = (unit / 32, unit % 32);
        if lane == 0 {
            shared[plane] = best;
            shared[cube_planes + plane] = total;
        }
        sync_cube();
        let at = plane / planes * planes + min(lane, comptime!(planes - 1));
        let part = shared[at];
        let weight = select(lane < planes, shared[cube_planes + at], 0.0f32);
        best = plane_max(part);
        total = plane_sum(weight * (part - best).exp());
    }
    (best, total)
}

/// As [`fold_planes`], for a team of any kind.
#[cube]
pub(super) fn fold_team(
    top: f32,
    sum: f32,
    shared: &mut [f32],
    #[comptime] team: Team,
) -> (f32, f32) {
    match comptime!(team.fold) {
        Fold::Alone => (top, sum),
        Fold::Planes => fold_planes(top, sum, shared, comptime!(RowTeams::of_team(team))),
        Fold::Tree => {
            let units = comptime!(team.units);
            let unit = UNIT_POS as usize;
            shared[unit] = top;
            shared[units + unit] = sum;
            sync_cube();
            #[unroll]
            for i in 0..comptime!(team.units.ilog2()) {
                let step = comptime!(team.units >> (i + 1));
                if unit < step {
                    let (a, b) = (shared[unit], shared[unit + step]);
                    let best = max(a, b);
                    let left = shared[units + unit] * (a - best).exp();
                    let right = shared[units + unit + step] * (b - best).exp();
                    shared[unit] = best;
                    shared[units + unit] = left + right;
                }
                sync_cube();
            }
            (shared[0], shared[units])
        }
    }
}
