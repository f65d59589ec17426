//! Device code of the portable GEMM.

use cubecl::prelude::*;

use super::base::GemmBlueprint;
use crate::device_code::decode::{ScaleKind, rounded_product, scale_index};
use crate::device_code::dot::{UnitTile, Words, dot_f32, dot_i32};
use crate::device_code::extents::Extents;
use crate::product::portable::args::PortableArgs;

/// The outputs of this unit.
#[derive(CubeType)]
struct UnitOutputs {
    rows: Array<usize>,
    tokens: Array<usize>,
    w_base: Array<usize>,
    x_base: Array<usize>,
}

/// The outputs that this unit computes. Rows and tokens past the end repeat the last one; `store` drops
/// them.
#[cube]
fn unit_outputs(extents: &Extents, #[comptime] plan: GemmBlueprint) -> UnitOutputs {
    let blocks = (extents.n + comptime!(plan.rows() - 1)) / comptime!(plan.rows());
    let row =
        (CUBE_POS % blocks) * comptime!(plan.rows()) + UNIT_POS as usize % comptime!(plan.units_n);
    let token = (CUBE_POS / blocks) * comptime!(plan.tokens())
        + UNIT_POS as usize / comptime!(plan.units_n);
    let mut rows = Array::<usize>::new(comptime!(plan.tile.rows));
    let mut w_base = Array::<usize>::new(comptime!(plan.tile.rows));
    #[unroll]
    for r in 0..comptime!(plan.tile.rows) {
        // Strided, so that neighbouring units write neighbouring outputs.
        let at = row + comptime!(r * plan.units_n);
        rows[r] = at;
        w_base[r] = min(at, extents.n - 1) * extents.words;
    }
    let mut tokens = Array::<usize>::new(comptime!(plan.tile.tokens));
    let mut x_base = Array::<usize>::new(comptime!(plan.tile.tokens));
    #[unroll]
    for t in 0..comptime!(plan.tile.tokens) {
        let at = token + comptime!(t * plan.units_m);
        tokens[t] = at;
        x_base[t] = min(at, extents.m - 1) * extents.x_stride;
    }
    UnitOutputs {
        rows,
        tokens,
        w_base,
        x_base,
    }
}

/// `y = x̂ · Ŵᵀ + bias`, or the i32 sums if `integers`.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn w2a8<O: Numeric, B: Float>(
    x: &[Vector<u32, Const<4>>],
    x_scales: &[f32],
    args: &PortableArgs<B>,
    y: &mut [O],
    #[comptime] integers: bool,
    #[comptime] plan: GemmBlueprint,
    #[define(O)] _out_type: ElemType,
    #[define(B)] _bias_type: ElemType,
) {
    let (words, scales) = (args.words, args.scales);
    let (map, extents) = (&args.map, &args.extents);
    let code = comptime!(args.code);
    let tile = comptime!(plan.tile);
    let outputs = unit_outputs(extents, plan);
    if outputs.tokens[0] >= extents.m {
        terminate!();
    }
    let mut acc = Array::<i32>::new(comptime!(tile.len()));
    let mut sums = Array::<f32>::new(comptime!(tile.len()));
    #[unroll]
    for i in 0..comptime!(tile.len()) {
        sums[i] = 0.0f32;
    }
    let grouped = comptime!(map.kind == ScaleKind::Group);
    let mut start = 0usize.runtime();
    let mut span = extents.words;
    if comptime!(grouped) {
        span = map.words_per_group;
    }
    // One iteration, unless scales are per group.
    while start < extents.words {
        let range = Words {
            start,
            end: min(start + span, extents.words),
            step: 1usize.runtime(),
        };
        dot_i32(
            x,
            words,
            &outputs.x_base,
            &outputs.w_base,
            range,
            &mut acc,
            tile,
            code,
            comptime!(plan.dot),
        );
        if comptime!(!integers) {
            #[unroll]
            for r in 0..comptime!(tile.rows) {
                let row = min(outputs.rows[r], extents.n - 1);
                let scale = scales[scale_index(map, row, start)] * comptime!(code.unit()).runtime();
                #[unroll]
                for t in 0..comptime!(tile.tokens) {
                    let i = comptime!(r * tile.tokens + t);
                    let sum = f32::cast_from(acc[i]);
                    let s = x_scales[min(outputs.tokens[t], extents.m - 1)];
                    if comptime!(grouped) {
                        sums[i] += rounded_product(sum, scale);
                    } else {
                        sums[i] = rounded_product(sum, scale * s);
                    }
                }
            }
        }
        start += span;
    }
    if comptime!(integers) {
        #[unroll]
        for r in 0..comptime!(tile.rows) {
            #[unroll]
            for t in 0..comptime!(tile.tokens) {
                if outputs.rows[r] < extents.n && outputs.tokens[t] < extents.m {
                    y[outputs.tokens[t] * extents.y_stride + outputs.rows[r]] =
                        O::cast_from(acc[comptime!(r * tile.tokens + t)]);
                }
            }
        }
    } else {
        if comptime!(grouped) {
            #[unroll]
            for t in 0..comptime!(tile.tokens) {
                let s = x_scales[min(outputs.tokens[t], extents.m - 1)];
                #[unroll]
                for r in 0..comptime!(tile.rows) {
                    let i = comptime!(r * tile.tokens + t);
                    sums[i] = rounded_product(sums[i], s);
                }
            }
        }
        store(y, &sums, &args.bias, &outputs, extents, tile);
    }
}

/// `y = x · Ŵᵀ + bias` for float activations.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn w2a16<F: Float, O: Numeric, B: Float, V: Size, A: Size>(
    x: &[Vector<F, V>],
    args: &PortableArgs<B>,
    y: &mut [O],
    #[comptime] plan: GemmBlueprint,
    #[define(F)] _x_type: ElemType,
    #[define(O)] _out_type: ElemType,
    #[define(B)] _bias_type: ElemType,
) {
    let (words, scales) = (args.words, args.scales);
    let (map, extents) = (&args.map, &args.extents);
    let code = comptime!(args.code);
    let tile = comptime!(plan.tile);
    let outputs = unit_outputs(extents, plan);
    if outputs.tokens[0] >= extents.m {
        terminate!();
    }
    let mut acc = Array::<f32>::new(comptime!(tile.len()));
    let mut sums = Array::<f32>::new(comptime!(tile.len()));
    #[unroll]
    for i in 0..comptime!(tile.len()) {
        sums[i] = 0.0f32;
    }
    let mut start = 0usize.runtime();
    let mut span = extents.words;
    if comptime!(map.kind == ScaleKind::Group) {
        span = map.words_per_group;
    }
    while start < extents.words {
        let range = Words {
            start,
            end: min(start + span, extents.words),
            step: 1usize.runtime(),
        };
        dot_f32::<F, V, A>(
            x,
            words,
            &outputs.x_base,
            &outputs.w_base,
            range,
            extents.k,
            &mut acc,
            tile,
            code,
        );
        #[unroll]
        for r in 0..comptime!(tile.rows) {
            let row = min(outputs.rows[r], extents.n - 1);
            let scale = scales[scale_index(map, row, start)] * comptime!(code.unit()).runtime();
            #[unroll]
            for t in 0..comptime!(tile.tokens) {
                let i = comptime!(r * tile.tokens + t);
                sums[i] += acc[i] * scale;
            }
        }
        start += span;
    }
    store(y, &sums, &args.bias, &outputs, extents, tile);
}

/// Adds the bias, rounds once, and stores the outputs that are inside of y.
#[cube]
fn store<O: Numeric, B: Float>(
    y: &mut [O],
    sums: &Array<f32>,
    bias: &ComptimeOption<&[B]>,
    outputs: &UnitOutputs,
    extents: &Extents,
    #[comptime] tile: UnitTile,
) {
    let mut out = Array::<f32>::new(comptime!(tile.len()));
    #[unroll]
    for i in 0..comptime!(tile.len()) {
        out[i] = sums[i];
    }
    #[comptime]
    match bias {
        ComptimeOption::Some(bias) =>
        {
            #[unroll]
            for r in 0..comptime!(tile.rows) {
                let value = f32::cast_from(bias[min(outputs.rows[r], extents.n - 1)]);
                #[unroll]
                for t in 0..comptime!(tile.tokens) {
                    let i = comptime!(r * tile.tokens + t);
                    out[i] += value;
                }
            }
        }
        ComptimeOption::None => {}
    }
    #[unroll]
    for r in 0..comptime!(tile.rows) {
        #[unroll]
        for t in 0..comptime!(tile.tokens) {
            if outputs.rows[r] < extents.n && outputs.tokens[t] < extents.m {
                y[outputs.tokens[t] * extents.y_stride + outputs.rows[r]] =
                    O::cast_from(out[comptime!(r * tile.tokens + t)]);
            }
        }
    }
}
