//! Device code: a row that every cube normalises and quantises for itself.

use cubecl::prelude::*;

use super::super::base::{RowPlan, StackPlan};
use crate::device_code::decode::magnitude_bits;
use crate::device_code::ptx::lines::{largest_of_warp, sum_of_warp};
use crate::device_code::ptx::{load_global, store_word};
use crate::quantize::activation::kernel::quantized_word;
use crate::quantize::activation::{rounding_of, scale_of};

/// The line of this unit that `pass` and `i` count.
#[cube]
pub(super) fn line_of(
    #[comptime] pass: usize,
    #[comptime] i: usize,
    #[comptime] row: RowPlan,
) -> usize {
    UNIT_POS as usize + comptime!(pass * StackPlan::UNITS + i * row.units)
}

/// Whether the line of this unit that `pass` and `i` count is one of the row.
#[cube]
pub(super) fn is_live(
    #[comptime] pass: usize,
    #[comptime] i: usize,
    #[comptime] row: RowPlan,
) -> bool {
    let of_virtual =
        UNIT_POS as usize + comptime!(pass * StackPlan::UNITS) < comptime!(row.units).runtime();
    of_virtual && line_of(pass, i, row) < comptime!(row.lines).runtime()
}

/// Loads this unit's f32 gains at `address`.
#[cube]
pub(super) fn load_gains(address: u64, gains: &mut Array<f32>, #[comptime] row: RowPlan) {
    #[unroll]
    for pass in 0..comptime!(row.passes()) {
        #[unroll]
        for i in 0..comptime!(row.per_unit) {
            if is_live(pass, i, row) {
                let from = address + u64::cast_from(line_of(pass, i, row) * 32);
                let first = load_global(from);
                let second = load_global(from + 16);
                #[unroll]
                for j in 0..4usize {
                    let at = comptime!(8 * (pass * row.per_unit + i) + j);
                    gains[at] = f32::reinterpret(first.extract(j));
                    gains[comptime!(at + 4)] = f32::reinterpret(second.extract(j));
                }
            }
        }
    }
}

/// Quantises the row that the units of the cube hold as `values`, normalised first where `norms`, to shared
/// memory at `codes`; returns its scale. `folds` are words of shared memory for what planes find.
#[cube]
#[allow(clippy::too_many_arguments, reason = "a row and its places")]
pub(super) fn quantize_row(
    values: &mut Array<f32>,
    gains: &Array<f32>,
    eps: f32,
    codes: u32,
    folds: &mut [u32],
    #[comptime] norms: bool,
    #[comptime] row: RowPlan,
) -> f32 {
    let unit = UNIT_POS as usize;
    let (warp, lane) = (unit / 32, unit % 32);
    let planes = comptime!(row.planes());
    let per_pass = comptime!(8 * row.per_unit);
    // Lanes come from loops that each left when its words were there, and planes reduce over lanes that are
    // together.
    sync_plane();
    if comptime!(norms) {
        #[unroll]
        for pass in 0..comptime!(row.passes()) {
            let mut squares = 0.0f32;
            #[unroll]
            for i in 0..per_pass {
                let v = values[comptime!(pass * per_pass + i)];
                squares += v * v;
            }
            let sum = sum_of_warp(squares);
            let plane = warp + comptime!(pass * StackPlan::WARPS);
            if lane == 0 && plane < planes {
                folds[plane] = u32::reinterpret(sum);
            }
        }
        sync_cube();
        let part = folds[min(lane, comptime!(planes - 1))];
        let total = sum_of_warp(select(lane < planes, f32::reinterpret(part), 0.0f32));
        let mean = total / f32::cast_from(comptime!(8 * row.lines).runtime());
        let r = 1.0f32 / (mean + eps).sqrt();
        #[unroll]
        for i in 0..comptime!(row.values()) {
            values[i] = gains[i] * (values[i] * r);
        }
    }
    let mut top = 0u32;
    #[unroll]
    for i in 0..comptime!(row.values()) {
        top = max(top, magnitude_bits(values[i]));
    }
    let top = largest_of_warp(top);
    if lane == 0 {
        folds[32 + warp] = top;
    }
    sync_cube();
    let top = largest_of_warp(folds[32 + lane % comptime!(StackPlan::WARPS)]);
    let rounding = rounding_of(top);
    #[unroll]
    for pass in 0..comptime!(row.passes()) {
        #[unroll]
        for i in 0..comptime!(row.per_unit) {
            if is_live(pass, i, row) {
                let to = codes + u32::cast_from(line_of(pass, i, row)) * 8;
                let at = comptime!(8 * (pass * row.per_unit + i));
                #[unroll]
                for word in 0..2usize {
                    let first = comptime!(at + 4 * word);
                    let bytes = quantized_word(
                        values[first],
                        values[comptime!(first + 1)],
                        values[comptime!(first + 2)],
                        values[comptime!(first + 3)],
                        rounding.a,
                        rounding.finite,
                        true,
                    );
                    store_word(to + comptime!(4 * word as u32), bytes);
                }
            }
        }
    }
    sync_cube();
    scale_of(&rounding)
}
