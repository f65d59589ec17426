//! Device code of the weight quantiser: block sums, scales from means, codes.

use cubecl::prelude::*;
use tritburn_formats::WeightCode;
use tritburn_formats::quantize::{SCALE_FLOOR, weight::INT2_STEP};
use tritburn_formats::sum::{BLOCK, LANES};

use super::base::SumBlueprint;
use tritburn_formats::layout::WEIGHTS_PER_WORD;

use crate::device_code::decode::{INFINITY_BITS, ScaleMap, magnitude_bits, nan_of, scale_index};

/// Where the elements of a segment lie.
#[derive(CubeType, CubeLaunch)]
pub(super) struct Segments {
    /// Number of segments.
    pub count: usize,
    /// Elements of a segment.
    pub len: usize,
    /// Segments of a row.
    pub per_row: usize,
    /// First element.
    pub start: usize,
    /// Columns of the matrix.
    pub cols: usize,
    /// Elements between rows.
    pub stride: usize,
    /// A segment is a run of whole rows.
    #[cube(comptime)]
    pub whole_rows: bool,
}

/// The divisor of a finished sum: the length of its segment.
#[derive(CubeType, CubeLaunch)]
pub(super) struct MeanOf {
    /// Elements of a segment.
    pub len: usize,
    /// Segments of a row.
    pub per_row: usize,
    /// Elements of a row, all its segments together.
    pub cols: usize,
}

/// Writes one partial sum per block of each segment, or the finished scale if a segment is one block.
///
/// The units of a block divide the lanes of the summation tree. Which unit holds a lane does not change
/// what is added to what.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn block_sums<F: Float>(
    x: &[F],
    out: &mut [f32],
    segments: Segments,
    first_out: usize,
    mean: MeanOf,
    #[comptime] finish: Option<WeightCode>,
    #[comptime] plan: SumBlueprint,
    #[define(F)] _dtype: ElemType,
) {
    let units = comptime!(plan.units_per_block);
    let per_unit = comptime!(LANES / units);
    let unit = UNIT_POS as usize % units;
    let index = CUBE_POS * comptime!(plan.blocks_per_cube()) + UNIT_POS as usize / units;
    let blocks = (segments.len + comptime!(BLOCK - 1)) / comptime!(BLOCK);
    let live = index < segments.count * blocks;
    let index = select(live, index, 0);
    let segment = index / blocks;
    let first = (index % blocks) * comptime!(BLOCK);

    let mut base = 0usize.runtime();
    let mut len = segments.len;
    if comptime!(!segments.whole_rows) {
        let start = (segment % segments.per_row) * segments.len;
        base = segment / segments.per_row * segments.stride + start;
        len = min(len, segments.cols - start);
    }

    let mut lanes = Array::<f32>::new(per_unit);
    #[unroll]
    for i in 0..per_unit {
        lanes[i] = 0.0f32;
    }
    let end = min(len, first + comptime!(BLOCK));
    let mut chunk = first;
    while chunk < end {
        #[unroll]
        for i in 0..per_unit {
            let at = chunk + unit + comptime!(i * units);
            let inside = at < end;
            let at = select(inside, at, first);
            let mut offset = base + at;
            if comptime!(segments.whole_rows) {
                offset = at / segments.cols * segments.stride + at % segments.cols;
            }
            let value = f32::cast_from(x[segments.start + offset]).abs();
            lanes[i] += select(inside, value, 0.0f32);
        }
        chunk += comptime!(LANES);
    }

    // `lanes[i]` is lane i·units + unit of the tree, so that the upper levels of the fold stay in a unit.
    #[unroll]
    for level in 0..comptime!(per_unit.ilog2()) {
        let step = comptime!(per_unit >> (level + 1));
        #[unroll]
        for i in 0..step {
            lanes[i] += lanes[comptime!(i + step)];
        }
    }
    let mut sum = lanes[0];
    if comptime!(units > 1) {
        sum = fold_units(sum, unit, units, comptime!(plan.cube_units));
    }

    if live && unit == 0 {
        if comptime!(finish.is_some()) {
            let code = comptime!(finish.unwrap());
            let start = (segment % mean.per_row) * mean.len;
            let count = min(mean.len, mean.cols - start);
            out[first_out + segment] = scale_of(sum / f32::cast_from(count), code);
        } else {
            out[first_out + index] = sum;
        }
    }
}

/// The scale that belongs to an absolute mean.
#[cube]
fn scale_of(mean: f32, #[comptime] code: WeightCode) -> f32 {
    let mut scale = max(mean, comptime!(SCALE_FLOOR).runtime());
    if comptime!(code == WeightCode::Int2) {
        scale *= comptime!(INT2_STEP).runtime();
    }
    let finite = magnitude_bits(mean) < INFINITY_BITS && magnitude_bits(scale) < INFINITY_BITS;
    select(finite, scale, nan_of(magnitude_bits(mean)))
}

/// The lower levels of the tree, across the units of a block.
#[cube]
fn fold_units(
    sum: f32,
    unit: usize,
    #[comptime] units: usize,
    #[comptime] cube_units: usize,
) -> f32 {
    let mut shared = Shared::<[f32]>::new_slice(cube_units);
    let at = UNIT_POS as usize;
    shared[at] = sum;
    sync_cube();
    #[unroll]
    for level in 0..comptime!(units.ilog2()) {
        let step = comptime!(units >> (level + 1));
        if unit < step {
            let other = shared[at + step];
            shared[at] += other;
        }
        sync_cube();
    }
    shared[at]
}

/// Codes of one packed word per unit.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn pack<F: Float>(
    w: &[F],
    scales: &[f32],
    words: &mut [u32],
    map: ScaleMap,
    rows: usize,
    cols: usize,
    stride: usize,
    words_per_row: usize,
    #[comptime] code: WeightCode,
    #[define(F)] _dtype: ElemType,
) {
    let index = ABSOLUTE_POS;
    let row = index / words_per_row;
    if row >= rows {
        terminate!();
    }
    let word = index % words_per_row;
    let scale = scales[scale_index(&map, row, word)];
    let mut packed = 0u32;
    #[unroll]
    for i in 0..comptime!(WEIGHTS_PER_WORD) {
        let col = word * comptime!(WEIGHTS_PER_WORD) + i;
        let inside = col < cols;
        let value = f32::cast_from(w[row * stride + select(inside, col, 0)]);
        let field = match comptime!(code) {
            WeightCode::Int2 => int2_code(value, scale),
            _ => ternary_code(value, scale),
        };
        let field = select(inside, field, comptime!(WeightCode::PADDING).runtime());
        packed |= field << comptime!(2 * i as u32).runtime();
    }
    words[index] = packed;
}

/// `clamp(round(w/γ), -1, 1) + 1`, and 1 for a NaN γ.
///
/// The f32 quotient is over ½ exactly when `w > γ/2` (γ ≥ 1e-5, so γ/2 is exact and the next float
/// above it divides to more than the midpoint above ½); ½ itself rounds to even, to 0. So the result does
/// not depend on how a device divides and rounds.
#[cube]
fn ternary_code(w: f32, gamma: f32) -> u32 {
    let half = gamma * 0.5f32;
    1u32 + u32::cast_from(w > half) - u32::cast_from(w < -half)
}

/// `clamp(round(w/s + 1.5), 0, 3)`, and 1 for a NaN s.
///
/// Half to even sends 0.5 to 0, 1.5 and 2.5 to 2.
#[cube]
fn int2_code(w: f32, s: f32) -> u32 {
    let q = w / s + 1.5f32;
    let code =
        u32::cast_from(q > 0.5f32) + u32::cast_from(q >= 1.5f32) + u32::cast_from(q > 2.5f32);
    select(
        magnitude_bits(s) > INFINITY_BITS,
        comptime!(WeightCode::PADDING).runtime(),
        code,
    )
}
