//! Combines partial softmax results. Each is a weighted sum and a sum of weights, both relative to its
//! own largest score, so that they are rescaled to the common one and added.

use cubecl::prelude::*;

use super::base::DecodePlan;
use super::planes::LOWEST;

/// Combines the partial results of a cube's planes. If no other cube shares the positions (`alone`), the
/// result is the output, written to `out`. Otherwise it goes to `sums` from `slot_start` on: weighted
/// sums, then largest scores and sums of weights.
#[cube]
#[allow(
    clippy::too_many_arguments,
    reason = "the sums and two places for them"
)]
pub(crate) fn combine_planes<F: Float>(
    shared: &mut [f32],
    acc: &Array<f32>,
    top: &Array<f32>,
    weight: &Array<f32>,
    out: &mut [F],
    target: usize,
    live: usize,
    sums: &mut [f32],
    slot_start: usize,
    alone: bool,
    #[comptime] plan: DecodePlan,
) {
    let (group, dim, width) = comptime!((plan.group, plan.dim, plan.width));
    let planes = comptime!(plan.planes());
    let stats = comptime!(planes * group * dim);
    let unit = UNIT_POS as usize;
    let (plane, lane) = (unit / 32, unit % 32);
    #[unroll]
    for h in 0..group {
        // Reduces over the lanes that hold the plane's other positions.
        let mut largest = top[h];
        #[unroll]
        for step in comptime!(plan.lanes().ilog2())..5u32 {
            largest = max(
                largest,
                plane_shuffle_xor(largest, comptime!(1u32 << step).runtime()),
            );
        }
        let keep = (top[h] - largest).exp();
        let mut total = weight[h] * keep;
        #[unroll]
        for step in comptime!(plan.lanes().ilog2())..5u32 {
            total += plane_shuffle_xor(total, comptime!(1u32 << step).runtime());
        }
        #[unroll]
        for j in 0..width {
            let mut sum = acc[comptime!(h * width + j)] * keep;
            #[unroll]
            for step in comptime!(plan.lanes().ilog2())..5u32 {
                sum += plane_shuffle_xor(sum, comptime!(1u32 << step).runtime());
            }
            // A cube may have more units than the plan.
            if lane < comptime!(plan.lanes()) && plane < planes {
                shared[(plane * group + h) * dim + lane * width + j] = sum;
            }
        }
        if lane == 0 && plane < planes {
            shared[stats + 2 * (plane * group + h)] = largest;
            shared[stats + 2 * (plane * group + h) + 1] = total;
        }
    }
    sync_cube();
    #[unroll]
    for i in 0..comptime!((group * dim).div_ceil(plan.units)) {
        let item = unit + comptime!(i * plan.units);
        if item < comptime!(group * dim) {
            let (h, d) = (item / dim, item % dim);
            let mut largest = comptime!(LOWEST).runtime();
            #[unroll]
            for p in 0..planes {
                largest = max(largest, shared[stats + 2 * (p * group + h)]);
            }
            let mut total = 0.0f32;
            let mut sum = 0.0f32;
            #[unroll]
            for p in 0..planes {
                let at = p * group + h;
                let keep = (shared[stats + 2 * at] - largest).exp();
                total += keep * shared[stats + 2 * at + 1];
                sum += keep * shared[at * dim + d];
            }
            if alone {
                if h < live {
                    out[target + item] = F::cast_from(sum / total);
                }
            } else {
                sums[slot_start + item] = sum;
                if d == 0 {
                    sums[slot_start + comptime!(group * dim) + 2 * h] = largest;
                    sums[slot_start + comptime!(group * dim) + 2 * h + 1] = total;
                }
            }
        }
    }
}

/// Combines the partial results that `active` cubes left in `sums`, from slot `first` on, and writes the
/// output.
#[cube]
#[allow(clippy::too_many_arguments, reason = "the sums and a place for them")]
pub(crate) fn combine_splits<F: Float>(
    shared: &mut [f32],
    out: &mut [F],
    target: usize,
    live: usize,
    sums: &mut [f32],
    first: usize,
    active: usize,
    #[comptime] plan: DecodePlan,
) {
    let (group, dim) = comptime!((plan.group, plan.dim));
    let words = comptime!(DecodePlan::slot_words(plan.group, plan.dim));
    let start = first * words;
    let unit = UNIT_POS as usize;
    let mut i = unit;
    while i < active * comptime!(2 * group) {
        let (split, stat) = (i / comptime!(2 * group), i % comptime!(2 * group));
        shared[i] = sums[start + split * words + comptime!(group * dim) + stat];
        i += comptime!(plan.units);
    }
    sync_cube();
    #[unroll]
    for i in 0..comptime!((group * dim).div_ceil(plan.units)) {
        let item = unit + comptime!(i * plan.units);
        if item < comptime!(group * dim) {
            let h = item / dim;
            let mut largest = comptime!(LOWEST).runtime();
            for split in 0..active {
                largest = max(largest, shared[2 * (split * group + h)]);
            }
            let mut total = 0.0f32;
            let mut sum = 0.0f32;
            let mut split = 0usize.runtime();
            while split < active {
                // All loads are issued before the additions, so that their latencies overlap.
                let mut held = Array::<f32>::new(8usize);
                #[unroll]
                for s in 0..8usize {
                    held[s] = sums[start + min(split + s, active - 1) * words + item];
                }
                #[unroll]
                for s in 0..8usize {
                    if split + s < active {
                        let at = 2 * ((split + s) * group + h);
                        let keep = (shared[at] - largest).exp();
                        total += keep * shared[at + 1];
                        sum += keep * held[s];
                    }
                }
                split += 8usize;
            }
            if h < live {
                out[target + item] = F::cast_from(sum / total);
            }
        }
    }
}
