//! Device code: one packed word per unit.

use cubecl::prelude::*;
use tritburn_formats::WeightCode;
use tritburn_formats::layout::WEIGHTS_PER_WORD;

use crate::device_code::decode::{ScaleMap, scale_index, values};

/// Writes the weights of each word of `words`.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn unpack<F: Float>(
    words: &[u32],
    scales: &[f32],
    w: &mut [F],
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
    let step = scales[scale_index(&map, row, word)] * comptime!(code.unit()).runtime();
    let values = values::<Const<16>>(words[index], 0usize, code);
    #[unroll]
    for i in 0..comptime!(WEIGHTS_PER_WORD) {
        let col = word * comptime!(WEIGHTS_PER_WORD) + i;
        if col < cols {
            w[row * stride + col] = F::cast_from(values.extract(i) * step);
        }
    }
}
