//! Device code of the input gradient.

use cubecl::prelude::*;
use tritburn_formats::WeightCode;
use tritburn_formats::layout::WEIGHTS_PER_WORD;

use super::base::InputBlueprint;
use crate::device_code::decode::{ScaleKind, ScaleMap, scale_index, values};
use crate::device_code::extents::Extents;

/// `dx[m, k] = Σ_n dy[m, n] · value[n, k] · unit · γ`, added in ascending order of n. In `extents`,
/// x is dY and y is dX.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn input_gradient<F: Float, O: Float>(
    dy: &[F],
    words: &[u32],
    scales: &[f32],
    dx: &mut [O],
    map: ScaleMap,
    extents: Extents,
    #[comptime] code: WeightCode,
    #[comptime] plan: InputBlueprint,
    #[define(F)] _dy_type: ElemType,
    #[define(O)] _dx_type: ElemType,
) {
    let word = ABSOLUTE_POS % extents.words;
    let token = (ABSOLUTE_POS / extents.words) * comptime!(plan.tokens);
    if token >= extents.m {
        terminate!();
    }
    let mut base = Array::<usize>::new(comptime!(plan.tokens));
    let mut acc = Array::<Vector<f32, Const<16>>>::new(comptime!(plan.tokens));
    #[unroll]
    for t in 0..comptime!(plan.tokens) {
        base[t] = min(token + t, extents.m - 1) * extents.x_stride;
        acc[t] = Vector::new(0.0f32);
    }
    // A single scale for the whole matrix is applied to the finished sums.
    let hoisted = comptime!(map.kind == ScaleKind::Tensor);
    for n in 0..extents.n {
        let weights = values::<Const<16>>(words[n * extents.words + word], 0usize, code);
        let mut scale = 1.0f32;
        if comptime!(!hoisted) {
            scale = scales[scale_index(&map, n, word)] * comptime!(code.unit()).runtime();
        }
        #[unroll]
        for t in 0..comptime!(plan.tokens) {
            let mut gradient = f32::cast_from(dy[base[t] + n]);
            if comptime!(!hoisted) {
                gradient *= scale;
            }
            acc[t] += weights * Vector::new(gradient);
        }
    }
    let mut scale = 1.0f32;
    if comptime!(hoisted) {
        scale = scales[0] * comptime!(code.unit()).runtime();
    }
    #[unroll]
    for t in 0..comptime!(plan.tokens) {
        let out = acc[t] * Vector::new(scale);
        #[unroll]
        for i in 0..comptime!(WEIGHTS_PER_WORD) {
            let col = word * comptime!(WEIGHTS_PER_WORD) + i;
            if token + t < extents.m && col < extents.k {
                dx[(token + t) * extents.y_stride + col] = O::cast_from(out.extract(i));
            }
        }
    }
}
