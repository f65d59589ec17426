//! The gradients on any device, for rows of any length and alignment: several passes over memory.

use cubecl::prelude::*;

use super::lines::GradientExtents;
use crate::decoder::norm::{Source, gate, gate_and_slope};
use crate::device_code::team::{Team, team_place, team_sum};

/// As `gradient_lines`, for dx alone. `scales` receives `1 / sqrt(mean(h²) + eps)` of each row.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn gradient_strided<F: Float, G: Float>(
    x: &[F],
    dy: &[F],
    add: ComptimeOption<&[F]>,
    gamma: &[G],
    dx: &mut [F],
    scales: &mut [f32],
    extents: GradientExtents,
    #[comptime] source: Source,
    #[comptime] team: Team,
    #[define(F)] _dtype: ElemType,
    #[define(G)] _gamma_type: ElemType,
) {
    let lanes = comptime!(team.lanes());
    let (row, lane) = team_place(team);
    if row < extents.rows {
        let mut shared = Shared::<[u32]>::new_slice(comptime!(team.shared_words(2)));
        let cols = extents.cols;
        let x_row = row * extents.x_stride;
        let mut squares = 0.0f32;
        let mut dot = 0.0f32;
        let mut col = lane;
        while col < cols {
            let h = value_of(x, x_row, col, cols, source);
            let d = f32::cast_from(gamma[col]) * f32::cast_from(dy[row * extents.dy_stride + col]);
            squares += h * h;
            dot += h * d;
            col += lanes;
        }
        let squares = team_sum(squares, &mut shared, 0usize, team);
        let dot = team_sum(dot, &mut shared, 1usize, team);
        let values = f32::cast_from(cols);
        let r = 1.0f32 / (squares / values + extents.eps).sqrt();
        let pull = r * r * (dot / values);
        let to = row * extents.dx_stride;
        let mut col = lane;
        while col < cols {
            let value = f32::cast_from(x[x_row + col]);
            let d = f32::cast_from(gamma[col]) * f32::cast_from(dy[row * extents.dy_stride + col]);
            if comptime!(source.is_gated()) {
                let up = f32::cast_from(x[x_row + cols + col]);
                let (factor, slope) = gate_and_slope(value, source);
                let dh = r * (d - factor * up * pull);
                dx[to + col] = F::cast_from(dh * up * slope);
                dx[to + cols + col] = F::cast_from(dh * factor);
            } else {
                let mut dh = r * (d - value * pull);
                #[comptime]
                if let ComptimeOption::Some(add) = add {
                    dh += f32::cast_from(add[row * extents.add_stride + col]);
                }
                dx[to + col] = F::cast_from(dh);
            }
            col += lanes;
        }
        if lane == 0 {
            scales[row] = r;
        }
    }
}

/// Partial sums of `dy · h · scale` over `chunk` rows: one unit per column and chunk.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn gamma_partials<F: Float>(
    x: &[F],
    dy: &[F],
    scales: &[f32],
    partials: &mut [f32],
    extents: GradientExtents,
    chunk: usize,
    #[comptime] source: Source,
    #[define(F)] _dtype: ElemType,
) {
    let cols = extents.cols;
    let part = ABSOLUTE_POS / cols;
    let col = ABSOLUTE_POS % cols;
    let mut row = part * chunk;
    if row < extents.rows {
        let end = min(row + chunk, extents.rows);
        let mut sum = 0.0f32;
        while row < end {
            let h = value_of(x, row * extents.x_stride, col, cols, source);
            sum += f32::cast_from(dy[row * extents.dy_stride + col]) * (h * scales[row]);
            row += 1;
        }
        partials[ABSOLUTE_POS] = sum;
    }
}

/// The value that is normalised: `x`, or `gate(g) · u`.
#[cube]
fn value_of<F: Float>(
    x: &[F],
    row: usize,
    col: usize,
    cols: usize,
    #[comptime] source: Source,
) -> f32 {
    let mut value = f32::cast_from(x[row + col]);
    if comptime!(source.is_gated()) {
        value = gate(value, source) * f32::cast_from(x[row + cols + col]);
    }
    value
}
