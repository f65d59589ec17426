//! The epilogue of the tensor-core kernels: from sums to outputs.

use cubecl::prelude::*;
use tritburn_formats::WeightCode;

use crate::device_code::decode::rounded_product;
use crate::device_code::ptx::{global_address, load_early, prefetch};
use crate::prepack::FragmentOrder;

/// Scales and biases of two adjacent weight rows, `row` (even) and `row + 1`: the rows of a lane's
/// sums.
#[derive(CubeType, Clone, Copy)]
pub(crate) struct RowPair {
    row: usize,
    both: bool,
    scale0: f32,
    scale1: f32,
    bias0: f32,
    bias1: f32,
}

/// Loads scales and biases of rows `row` and `row + 1`; `row` is inside of the matrix. Unless
/// `wanted`, loads nothing and returns zeros.
#[cube]
pub(crate) fn row_pair<B: Float>(
    row: usize,
    rows: usize,
    row_scales: &[f32],
    bias: &ComptimeOption<&[B]>,
    wanted: bool,
) -> RowPair {
    let both = row + 1 < rows;
    let next = select(both, row + 1, row);
    let mut pair = RowPair {
        row,
        both,
        scale0: 0.0f32.runtime(),
        scale1: 0.0f32.runtime(),
        bias0: 0.0f32.runtime(),
        bias1: 0.0f32.runtime(),
    };
    if wanted {
        let scales = global_address::<f32>(row_scales);
        pair.scale0 = load_early(scales + u64::cast_from(row * 4));
        pair.scale1 = load_early(scales + u64::cast_from(next * 4));
        #[comptime]
        match bias {
            ComptimeOption::Some(bias) => {
                pair.bias0 = f32::cast_from(bias[row]);
                pair.bias1 = f32::cast_from(bias[next]);
            }
            ComptimeOption::None => {}
        }
    }
    pair
}

/// Prefetches the scales of rows `first..first + count` into L2, one cache line a unit, so that the
/// epilogue does not wait for cold memory.
#[cube]
pub(crate) fn prefetch_scales(first: usize, count: usize, rows: usize, row_scales: &[f32]) {
    let offset = UNIT_POS as usize * 32;
    let row = first + offset;
    if offset < count && row < rows {
        prefetch(global_address::<f32>(row_scales) + u64::cast_from(row * 4));
    }
}

/// The scale of `token`: 1 for activations without scales, and for integer outputs.
#[cube]
pub(crate) fn token_scale(
    x_scales: &ComptimeOption<&[f32]>,
    token: usize,
    #[comptime] integers: bool,
) -> f32 {
    let mut scale = 1.0f32;
    if comptime!(!integers) {
        #[comptime]
        match x_scales {
            ComptimeOption::Some(x_scales) => {
                scale = x_scales[token];
            }
            ComptimeOption::None => {}
        }
    }
    scale
}

/// Outputs of two adjacent weight rows.
#[derive(CubeType, Clone, Copy)]
pub(crate) struct OutputPair<O: Numeric> {
    pub first: O,
    pub second: O,
}

/// The outputs of two rows for one token: `f32(sum) · (γ·unit·scale) + bias` rounded to O, or the
/// integer sums if `integers`. `scale` is the token's [`token_scale`].
#[cube]
pub(crate) fn outputs<A: Numeric, O: Numeric>(
    pair: &RowPair,
    scale: f32,
    sum0: A,
    sum1: A,
    #[comptime] code: WeightCode,
    #[comptime] integers: bool,
) -> OutputPair<O> {
    if comptime!(integers) {
        let shift = comptime!(FragmentOrder::Int8.shift(code) as i32);
        OutputPair::<O> {
            first: O::cast_from(i32::cast_from(sum0) >> shift.runtime()),
            second: O::cast_from(i32::cast_from(sum1) >> shift.runtime()),
        }
    } else {
        let value0 = rounded_product(f32::cast_from(sum0), pair.scale0 * scale);
        let value1 = rounded_product(f32::cast_from(sum1), pair.scale1 * scale);
        OutputPair::<O> {
            first: O::cast_from(value0 + pair.bias0),
            second: O::cast_from(value1 + pair.bias1),
        }
    }
}

/// Stores the [`outputs`] of two rows for one token. `start` is the index of the token's first
/// element in y.
#[cube]
#[allow(clippy::too_many_arguments, reason = "the facts of two outputs")]
pub(crate) fn write_pair<A: Numeric, O: Numeric, W: Size>(
    y: &mut [Vector<O, W>],
    start: usize,
    pair: &RowPair,
    scale: f32,
    sum0: A,
    sum1: A,
    #[comptime] code: WeightCode,
    #[comptime] integers: bool,
) {
    let out = outputs::<A, O>(pair, scale, sum0, sum1, code, integers);
    let line = (start + pair.row) / W::value();
    store_line::<O, W>(y, line, out.first, out.second, pair.both);
}

/// Stores two adjacent outputs: as one vector if a line holds two, else as elements `line` and (if
/// `both`) `line + 1`.
#[cube]
pub(crate) fn store_line<O: Numeric, W: Size>(
    y: &mut [Vector<O, W>],
    line: usize,
    first: O,
    second: O,
    both: bool,
) {
    let width = W::value();
    if comptime!(width == 2) {
        let mut pair = Vector::<O, W>::empty();
        pair.insert(0usize, first);
        pair.insert(1usize, second);
        y[line] = pair;
    } else {
        y[line] = Vector::new(first);
        if both {
            y[line + 1] = Vector::new(second);
        }
    }
}
