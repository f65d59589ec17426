//! Device code of the portable activation quantiser: a group of lanes reads a row twice.

use cubecl::prelude::*;

use super::base::ActivationBlueprint;
use super::rounding::{rounding_of, scale_of};
use crate::device_code::decode::magnitude_bits;
use crate::device_code::ptx::lines::round_bytes;

/// Quantises `rows` rows. `words` is the number of output words (four int8 each) of a row.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn quantize<F: Float>(
    x: &[F],
    codes: &mut [u32],
    scales: &mut [f32],
    rows: usize,
    cols: usize,
    stride: usize,
    words: usize,
    #[comptime] plan: ActivationBlueprint,
    #[define(F)] _dtype: ElemType,
) {
    let lanes = comptime!(plan.lanes);
    let lane = UNIT_POS as usize % lanes;
    let row = CUBE_POS * comptime!(plan.rows_per_cube()) + UNIT_POS as usize / lanes;
    // Units past the end repeat the last row and store nothing, because every unit must reach the barriers.
    let live = row < rows;
    let base = select(live, row, rows - 1) * stride;

    // The bits of |x| compare as integers as the numbers do; infinity and NaN are above all others.
    let mut top = 0u32;
    let mut col = lane;
    while col < cols {
        top = max(top, magnitude_bits(f32::cast_from(x[base + col])));
        col += lanes;
    }
    if comptime!(lanes > 1) {
        top = fold_max(top, lane, lanes, comptime!(plan.cube_units));
    }

    let rounding = rounding_of(top);
    let (finite, a) = (rounding.finite, rounding.a);
    let mut word = lane;
    while word < words {
        let mut packed = 0u32;
        #[unroll]
        for i in 0..4usize {
            let col = word * 4 + i;
            let inside = col < cols && finite;
            let value = f32::cast_from(x[base + select(inside, col, 0)]);
            let byte = quantized_byte(value, a, inside);
            packed |= byte << comptime!(8 * i as u32).runtime();
        }
        if live {
            codes[row * words + word] = packed;
        }
        word += lanes;
    }
    if live && lane == 0 {
        scales[row] = scale_of(&rounding);
    }
}

/// `clamp(round(value · a), -128, 127)` as a byte; 0 unless `inside`.
#[cube]
pub(crate) fn quantized_byte(value: f32, a: f32, inside: bool) -> u32 {
    let q = clamp((value * a).round(), -128.0f32, 127.0f32);
    let q = select(inside, q, 0.0f32);
    u32::reinterpret(i32::cast_from(q)) & 0xFF
}

/// Four [`quantized_byte`]s, the first in the low byte; with PTX instructions if `ptx`, to the same
/// bits.
#[cube]
pub(crate) fn quantized_word(
    v0: f32,
    v1: f32,
    v2: f32,
    v3: f32,
    a: f32,
    inside: bool,
    #[comptime] ptx: bool,
) -> u32 {
    if comptime!(ptx) {
        select(inside, round_bytes(v0, v1, v2, v3, a), 0u32)
    } else {
        quantized_byte(v0, a, inside)
            | (quantized_byte(v1, a, inside) << 8)
            | (quantized_byte(v2, a, inside) << 16)
            | (quantized_byte(v3, a, inside) << 24)
    }
}

/// The maximum of `value` over a group of lanes, returned to all of them.
#[cube]
fn fold_max(value: u32, lane: usize, #[comptime] lanes: usize, #[comptime] units: usize) -> u32 {
    let mut shared = Shared::<[u32]>::new_slice(units);
    let unit = UNIT_POS as usize;
    shared[unit] = value;
    sync_cube();
    #[unroll]
    for i in 0..comptime!(lanes.ilog2()) {
        let step = comptime!(lanes >> (i + 1));
        if lane < step {
            shared[unit] = max(shared[unit], shared[unit + step]);
        }
        sync_cube();
    }
    shared[unit - lane]
}
