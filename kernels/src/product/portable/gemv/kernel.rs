//! Device code of the portable GEMV.

use cubecl::prelude::*;

use super::base::GemvBlueprint;
use crate::device_code::decode::{ScaleKind, rounded_product, scale_index};
use crate::device_code::dot::{Words, dot_f32, dot_i32};
use crate::device_code::extents::Extents;
use crate::product::portable::args::PortableArgs;

/// The outputs of this unit's group of lanes.
#[derive(CubeType)]
pub(in crate::product::portable) struct UnitOutputs {
    pub row: usize,
    pub token: usize,
    pub lane: usize,
    pub w_base: Array<usize>,
    pub x_base: Array<usize>,
}

/// The outputs that this unit computes. Rows and tokens past the end repeat the last one, because every
/// unit must reach every barrier; `store` drops them.
#[cube]
pub(in crate::product::portable) fn unit_outputs(
    extents: &Extents,
    #[comptime] plan: GemvBlueprint,
) -> UnitOutputs {
    let blocks = (extents.n + comptime!(plan.rows() - 1)) / comptime!(plan.rows());
    let group = UNIT_POS as usize / comptime!(plan.lanes);
    let row = (CUBE_POS % blocks) * comptime!(plan.rows()) + group * comptime!(plan.tile.rows);
    let token = (CUBE_POS / blocks) * comptime!(plan.tile.tokens);
    let mut w_base = Array::<usize>::new(comptime!(plan.tile.rows));
    #[unroll]
    for r in 0..comptime!(plan.tile.rows) {
        w_base[r] = min(row + r, extents.n - 1) * extents.words;
    }
    let mut x_base = Array::<usize>::new(comptime!(plan.tile.tokens));
    #[unroll]
    for t in 0..comptime!(plan.tile.tokens) {
        x_base[t] = min(token + t, extents.m - 1) * extents.x_stride;
    }
    UnitOutputs {
        row,
        token,
        lane: UNIT_POS as usize % comptime!(plan.lanes),
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
    #[comptime] plan: GemvBlueprint,
    #[define(O)] _out_type: ElemType,
    #[define(B)] _bias_type: ElemType,
) {
    let (words, scales) = (args.words, args.scales);
    let (map, extents) = (&args.map, &args.extents);
    let code = comptime!(args.code);
    let tile = comptime!(plan.tile);
    let outputs = unit_outputs(extents, plan);
    let mut acc = Array::<i32>::new(comptime!(tile.len()));
    let mut sums = Array::<f32>::new(comptime!(tile.len()));
    if comptime!(map.kind == ScaleKind::Group) {
        // A lane computes the terms of whole scale groups. They are added in ascending order of the groups,
        // so that the result does not depend on the number of lanes.
        let mut terms = Shared::<[f32]>::new_slice(comptime!(tile.len() * plan.units()));
        #[unroll]
        for i in 0..comptime!(tile.len()) {
            sums[i] = 0.0f32;
        }
        let mut round = 0usize.runtime();
        while round < map.groups {
            let group = round + outputs.lane;
            let start = min(group * map.words_per_group, extents.words);
            let range = Words {
                start,
                end: min(start + map.words_per_group, extents.words),
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
            #[unroll]
            for r in 0..comptime!(tile.rows) {
                let row = min(outputs.row + r, extents.n - 1);
                let at = row * map.groups + min(group, map.groups - 1);
                let scale = scales[at] * comptime!(code.unit()).runtime();
                #[unroll]
                for t in 0..comptime!(tile.tokens) {
                    let i = comptime!(r * tile.tokens + t);
                    let term = rounded_product(f32::cast_from(acc[i]), scale);
                    terms[UNIT_POS as usize * comptime!(tile.len()) + i] = term;
                }
            }
            sync_cube();
            let first = (UNIT_POS as usize - outputs.lane) * comptime!(tile.len());
            let count = min(comptime!(plan.lanes).runtime(), map.groups - round);
            for lane in 0..count {
                #[unroll]
                for i in 0..comptime!(tile.len()) {
                    sums[i] += terms[first + lane * comptime!(tile.len()) + i];
                }
            }
            sync_cube();
            round += comptime!(plan.lanes);
        }
        #[unroll]
        for t in 0..comptime!(tile.tokens) {
            let s = x_scales[min(outputs.token + t, extents.m - 1)];
            #[unroll]
            for r in 0..comptime!(tile.rows) {
                let i = comptime!(r * tile.tokens + t);
                sums[i] = rounded_product(sums[i], s);
            }
        }
    } else {
        let range = Words {
            start: outputs.lane,
            end: extents.words,
            step: comptime!(plan.lanes).runtime(),
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
        fold::<i32>(&mut acc, outputs.lane, plan);
        #[unroll]
        for r in 0..comptime!(tile.rows) {
            let row = min(outputs.row + r, extents.n - 1);
            let scale = scales[scale_index(map, row, 0usize)] * comptime!(code.unit()).runtime();
            #[unroll]
            for t in 0..comptime!(tile.tokens) {
                let i = comptime!(r * tile.tokens + t);
                if comptime!(!integers) {
                    let s = x_scales[min(outputs.token + t, extents.m - 1)];
                    sums[i] = rounded_product(f32::cast_from(acc[i]), scale * s);
                }
            }
        }
    }
    if comptime!(integers) {
        store::<i32, O, B>(y, &acc, &args.bias, &outputs, extents, plan, integers);
    } else {
        store::<f32, O, B>(y, &sums, &args.bias, &outputs, extents, plan, integers);
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
    #[comptime] plan: GemvBlueprint,
    #[define(F)] _x_type: ElemType,
    #[define(O)] _out_type: ElemType,
    #[define(B)] _bias_type: ElemType,
) {
    let (words, scales) = (args.words, args.scales);
    let (map, extents) = (&args.map, &args.extents);
    let code = comptime!(args.code);
    let tile = comptime!(plan.tile);
    let outputs = unit_outputs(extents, plan);
    let mut acc = Array::<f32>::new(comptime!(tile.len()));
    let mut sums = Array::<f32>::new(comptime!(tile.len()));
    #[unroll]
    for i in 0..comptime!(tile.len()) {
        sums[i] = 0.0f32;
    }
    let grouped = comptime!(map.kind == ScaleKind::Group);
    // A lane processes whole scale groups, or every `lanes`-th word if one scale covers the row.
    let mut group = 0usize.runtime();
    let mut groups = 1usize.runtime();
    let mut step = comptime!(plan.lanes).runtime();
    if comptime!(grouped) {
        group = outputs.lane;
        groups = map.groups;
        step = 1usize.runtime();
    }
    while group < groups {
        let mut start = outputs.lane;
        let mut end = extents.words;
        if comptime!(grouped) {
            start = group * map.words_per_group;
            end = min(start + map.words_per_group, extents.words);
        }
        let range = Words { start, end, step };
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
            let row = min(outputs.row + r, extents.n - 1);
            let mut word = 0usize.runtime();
            if comptime!(grouped) {
                word = start;
            }
            let scale = scales[scale_index(map, row, word)] * comptime!(code.unit()).runtime();
            #[unroll]
            for t in 0..comptime!(tile.tokens) {
                let i = comptime!(r * tile.tokens + t);
                sums[i] += acc[i] * scale;
            }
        }
        group += comptime!(plan.lanes);
    }
    fold::<f32>(&mut sums, outputs.lane, plan);
    store::<f32, O, B>(y, &sums, &args.bias, &outputs, extents, plan, false);
}

/// Adds up the partial sums of a group of lanes, in a fixed tree; every lane gets the result.
#[cube]
pub(in crate::product::portable) fn fold<T: Numeric>(
    acc: &mut Array<T>,
    lane: usize,
    #[comptime] plan: GemvBlueprint,
) {
    if comptime!(plan.lanes > 1) {
        let units = comptime!(plan.units());
        let mut shared = Shared::<[T]>::new_slice(comptime!(plan.tile.len() * plan.units()));
        let unit = UNIT_POS as usize;
        #[unroll]
        for i in 0..comptime!(plan.tile.len()) {
            shared[unit + comptime!(i * units)] = acc[i];
        }
        sync_cube();
        #[unroll]
        for level in 0..comptime!(plan.lanes.ilog2()) {
            let step = comptime!(plan.lanes >> (level + 1));
            if lane < step {
                #[unroll]
                for i in 0..comptime!(plan.tile.len()) {
                    let at = unit + comptime!(i * units);
                    let other = shared[at + step];
                    shared[at] += other;
                }
            }
            sync_cube();
        }
        #[unroll]
        for i in 0..comptime!(plan.tile.len()) {
            acc[i] = shared[unit - lane + comptime!(i * units)];
        }
    }
}

/// Adds the bias, rounds once, and stores the outputs that are inside of y: lane `i mod lanes` stores
/// output `i` of a tile.
#[cube]
pub(in crate::product::portable) fn store<T: Numeric, O: Numeric, B: Float>(
    y: &mut [O],
    sums: &Array<T>,
    bias: &ComptimeOption<&[B]>,
    outputs: &UnitOutputs,
    extents: &Extents,
    #[comptime] plan: GemvBlueprint,
    #[comptime] integers: bool,
) {
    let tile = comptime!(plan.tile);
    let mut out = Array::<T>::new(comptime!(tile.len()));
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
                let value = T::cast_from(bias[min(outputs.row + r, extents.n - 1)]);
                #[unroll]
                for t in 0..comptime!(tile.tokens) {
                    let i = comptime!(r * tile.tokens + t);
                    if comptime!(!integers) {
                        out[i] += value;
                    }
                }
            }
        }
        ComptimeOption::None => {}
    }
    #[unroll]
    for r in 0..comptime!(tile.rows) {
        #[unroll]
        for t in 0..comptime!(tile.tokens) {
            let i = comptime!(r * tile.tokens + t);
            let mine = outputs.lane == comptime!((r * tile.tokens + t) % plan.lanes);
            if mine && outputs.row + r < extents.n && outputs.token + t < extents.m {
                y[(outputs.token + t) * extents.y_stride + outputs.row + r] = O::cast_from(out[i]);
            }
        }
    }
}
