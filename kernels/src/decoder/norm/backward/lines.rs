//! The gradients on GPUs with planes of 32: a row is read once, 16 bytes at a time, and kept in
//! registers. Cubes are persistent: each processes several rows and accumulates the gradient of gamma.

use cubecl::prelude::*;

use crate::decoder::norm::{Source, gate, gate_and_slope};
use crate::rows::{RowTeams, fold_sums, team_of_row};

/// Runtime sizes. Strides are in elements, or in lines where the kernel reads lines.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct GradientExtents {
    /// Rows.
    pub rows: usize,
    /// Values of a row, in lines where the kernel reads lines.
    pub cols: usize,
    /// Row stride of x.
    pub x_stride: usize,
    /// Row stride of dy.
    pub dy_stride: usize,
    /// Row stride of `add`.
    pub add_stride: usize,
    /// Row stride of dx.
    pub dx_stride: usize,
    /// Added to the mean square.
    pub eps: f32,
}

/// A team processes every `step`-th row. `partials` is f32 `[cubes, K]`: each cube's sum for gamma.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn gradient_lines<F: Float, G: Float, V: Size, W: Size, P: Size>(
    x: &[Vector<F, V>],
    dy: &[Vector<F, V>],
    add: ComptimeOption<&[Vector<F, V>]>,
    gamma: &[Vector<G, W>],
    dx: &mut [Vector<F, V>],
    partials: &mut [Vector<f32, P>],
    extents: GradientExtents,
    step: usize,
    #[comptime] source: Source,
    #[comptime] plan: RowTeams,
    #[define(F)] _dtype: ElemType,
    #[define(G)] _gamma_type: ElemType,
) {
    let (team, unit) = team_of_row(plan);
    let width = V::value();
    let gamma_width = W::value();
    let lines = comptime!(plan.lines);
    let units = comptime!(plan.units());
    let last = extents.cols - 1;
    let values = f32::cast_from(extents.cols * width);
    let mut shared = Shared::<[f32]>::new_slice(comptime!(4 * plan.cube_planes()));

    let mut gammas = Array::<f32>::new(comptime!(lines * width));
    let mut sums = Array::<f32>::new(comptime!(lines * width));
    #[unroll]
    for i in 0..lines {
        let at = min(unit + comptime!(i * units), last);
        #[unroll]
        for k in 0..comptime!(width / gamma_width) {
            let line = gamma[at * comptime!(width / gamma_width) + k];
            #[unroll]
            for j in 0..gamma_width {
                gammas[comptime!(i * width + k * gamma_width + j)] =
                    f32::cast_from(line.extract(j));
                sums[comptime!(i * width + k * gamma_width + j)] = 0.0f32;
            }
        }
    }

    let mut turn = 0usize.runtime();
    let mut first = CUBE_POS * comptime!(plan.teams);
    while first < extents.rows {
        let live = first + team < extents.rows;
        let row = min(first + team, extents.rows - 1);
        let mut xs = Array::<Vector<F, V>>::new(lines);
        let mut ups = Array::<Vector<F, V>>::new(lines);
        let mut dys = Array::<Vector<F, V>>::new(lines);
        let mut adds = Array::<Vector<F, V>>::new(lines);
        #[unroll]
        for i in 0..lines {
            let at = min(unit + comptime!(i * units), last);
            xs[i] = x[row * extents.x_stride + at];
            dys[i] = dy[row * extents.dy_stride + at];
            if comptime!(source.is_gated()) {
                ups[i] = x[row * extents.x_stride + extents.cols + at];
            }
            #[comptime]
            if let ComptimeOption::Some(add) = add {
                adds[i] = add[row * extents.add_stride + at];
            }
        }
        let mut squares = 0.0f32;
        let mut dot = 0.0f32;
        #[unroll]
        for i in 0..lines {
            let inside = live && unit + comptime!(i * units) < extents.cols;
            #[unroll]
            for j in 0..width {
                let mut h = f32::cast_from(xs[i].extract(j));
                if comptime!(source.is_gated()) {
                    h = gate(h, source) * f32::cast_from(ups[i].extract(j));
                }
                let d = gammas[comptime!(i * width + j)] * f32::cast_from(dys[i].extract(j));
                squares += select(inside, h * h, 0.0f32);
                dot += select(inside, h * d, 0.0f32);
            }
        }
        let (squares, dot) = fold_sums(squares, dot, &mut shared, turn, plan);
        let r = 1.0f32 / (squares / values + extents.eps).sqrt();
        let pull = r * r * (dot / values);
        #[unroll]
        for i in 0..lines {
            let line = unit + comptime!(i * units);
            let inside = live && line < extents.cols;
            let mut out = Vector::<F, V>::empty();
            let mut out_up = Vector::<F, V>::empty();
            #[unroll]
            for j in 0..width {
                let value = f32::cast_from(xs[i].extract(j));
                let dy = f32::cast_from(dys[i].extract(j));
                let d = gammas[comptime!(i * width + j)] * dy;
                let mut h = value;
                if comptime!(source.is_gated()) {
                    let up = f32::cast_from(ups[i].extract(j));
                    let (factor, slope) = gate_and_slope(value, source);
                    h = factor * up;
                    let dh = r * (d - h * pull);
                    out.insert(j, F::cast_from(dh * up * slope));
                    out_up.insert(j, F::cast_from(dh * factor));
                } else {
                    let mut dh = r * (d - h * pull);
                    if comptime!(add.is_some()) {
                        dh += f32::cast_from(adds[i].extract(j));
                    }
                    out.insert(j, F::cast_from(dh));
                }
                sums[comptime!(i * width + j)] += select(inside, dy * (h * r), 0.0f32);
            }
            if inside {
                dx[row * extents.dx_stride + line] = out;
                if comptime!(source.is_gated()) {
                    dx[row * extents.dx_stride + extents.cols + line] = out_up;
                }
            }
        }
        first += step;
        turn = 1 - turn;
    }

    add_teams(&mut sums, units, width, plan);
    // The last team holds the sum over all teams.
    if team == comptime!(plan.teams - 1) {
        let part = P::value();
        let per_line = comptime!(width / part);
        #[unroll]
        for i in 0..lines {
            let line = unit + comptime!(i * units);
            if line < extents.cols {
                #[unroll]
                for k in 0..per_line {
                    let mut out = Vector::<f32, P>::empty();
                    #[unroll]
                    for j in 0..part {
                        out.insert(j, sums[comptime!(i * width + k * part + j)]);
                    }
                    partials[(CUBE_POS * extents.cols + line) * per_line + k] = out;
                }
            }
        }
    }
}

/// Adds the sums of a cube's teams in their order; the last team gets the total.
#[cube]
fn add_teams(
    sums: &mut Array<f32>,
    #[comptime] units: usize,
    #[comptime] width: usize,
    #[comptime] plan: RowTeams,
) {
    if comptime!(plan.teams > 1) {
        let (team, unit) = team_of_row(plan);
        let count = comptime!(plan.lines * width);
        let mut totals = Shared::<[f32]>::new_slice(comptime!(count * units));
        #[unroll]
        for t in 0..comptime!(plan.teams) {
            if team == t {
                #[unroll]
                for e in 0..count {
                    if comptime!(t > 0) {
                        sums[e] += totals[comptime!(e * units) + unit];
                    }
                    totals[comptime!(e * units) + unit] = sums[e];
                }
            }
            sync_cube();
        }
    }
}
