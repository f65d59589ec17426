//! The norm on any device, for rows of any length and alignment: several passes over memory, four columns
//! per unit.

use cubecl::prelude::*;

use super::activation::gate;
use super::base::Source;
use super::lines::{RowExtents, load, store};
use crate::device_code::decode::magnitude_bits;
use crate::device_code::team::{Team, team_max, team_place, team_sum};
use crate::quantize::activation::kernel::quantized_byte;
use crate::quantize::activation::{rounding_of, scale_of};

/// As `norm_lines`. A unit processes the same columns in every pass, so that it reads sums that it
/// wrote itself. `words` is the number of 4-column words of a row, padding included.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn norm_strided<F: Float, G: Float>(
    x: &[F],
    add: ComptimeOption<&[F]>,
    mut sum: ComptimeOption<&mut [F]>,
    gamma: &[G],
    mut codes: ComptimeOption<&mut [u32]>,
    mut scales: ComptimeOption<&mut [f32]>,
    mut y: ComptimeOption<&mut [F]>,
    extents: RowExtents,
    words: usize,
    #[comptime] source: Source,
    #[comptime] team: Team,
    #[define(F)] _dtype: ElemType,
    #[define(G)] _gamma_type: ElemType,
) {
    let lanes = comptime!(team.lanes());
    let (row, lane) = team_place(team);
    // The branch is uniform in a team, so that its units reach the barriers together.
    if row < extents.rows {
        let mut shared = Shared::<[u32]>::new_slice(comptime!(team.shared_words(2)));
        let cols = extents.cols;
        let x_row = row * extents.x_stride;

        let mut squares = 0.0f32;
        let mut word = lane;
        while word < words {
            #[unroll]
            for i in 0..4usize {
                let col = word * 4 + i;
                if col < cols {
                    let mut value = f32::cast_from(x[x_row + col]);
                    match comptime!(source) {
                        Source::Add =>
                        {
                            #[comptime]
                            if let ComptimeOption::Some(add) = add {
                                let other = f32::cast_from(add[row * extents.add_stride + col]);
                                let rounded = F::cast_from(value + other);
                                value = f32::cast_from(rounded);
                                store(&mut sum, row * extents.sum_stride + col, rounded);
                            }
                        }
                        Source::InPlace => {
                            let at = row * extents.sum_stride + col;
                            let other = load(&sum, at, x[x_row + col]);
                            let rounded = F::cast_from(value + f32::cast_from(other));
                            value = f32::cast_from(rounded);
                            store(&mut sum, at, rounded);
                        }
                        Source::Gated(_) => {
                            value = gate(value, source) * f32::cast_from(x[x_row + cols + col]);
                        }
                        Source::Plain => {}
                    }
                    squares += value * value;
                }
            }
            word += lanes;
        }
        let total = team_sum(squares, &mut shared, 0usize, team);
        let r = 1.0f32 / (total / f32::cast_from(cols) + extents.eps).sqrt();

        let mut top = 0u32;
        let mut word = lane;
        while word < words {
            #[unroll]
            for i in 0..4usize {
                let col = word * 4 + i;
                if col < cols {
                    let first = x[x_row + col];
                    let mut value =
                        f32::cast_from(load(&sum, row * extents.sum_stride + col, first));
                    if comptime!(source.is_gated()) {
                        value = gate(value, source) * f32::cast_from(x[x_row + cols + col]);
                    }
                    value = f32::cast_from(gamma[col]) * (value * r);
                    top = max(top, magnitude_bits(value));
                    store(&mut y, row * extents.y_stride + col, F::cast_from(value));
                }
            }
            word += lanes;
        }

        if comptime!(codes.is_some()) {
            let top = team_max(top, &mut shared, 1usize, team);
            let rounding = rounding_of(top);
            let (finite, a) = (rounding.finite, rounding.a);
            let mut word = lane;
            while word < words {
                let mut packed = 0u32;
                #[unroll]
                for i in 0..4usize {
                    let col = word * 4 + i;
                    if col < cols && finite {
                        let first = x[x_row + col];
                        let mut value =
                            f32::cast_from(load(&sum, row * extents.sum_stride + col, first));
                        if comptime!(source.is_gated()) {
                            value = gate(value, source) * f32::cast_from(x[x_row + cols + col]);
                        }
                        value = f32::cast_from(gamma[col]) * (value * r);
                        let byte = quantized_byte(value, a, finite);
                        packed |= byte << comptime!(8 * i as u32).runtime();
                    }
                }
                store(&mut codes, row * words + word, packed);
                word += lanes;
            }
            if lane == 0 {
                store(&mut scales, row, scale_of(&rounding));
            }
        }
    }
}
