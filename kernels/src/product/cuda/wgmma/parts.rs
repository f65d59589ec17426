//! Parts of the contracted dimension, where a product has fewer output tiles than the device has
//! clusters.

use super::base::WgmmaBlueprint;
use crate::device::DeviceFacts;

/// Cycles of a step of 128 × 256 × 64 half-precision products, measured.
const STEP: usize = 1_290;
/// Cycles of an output tile beside its steps: filling the ring, storing sums.
const TILE: usize = 4_000;
/// Bytes a cycle at which sums are written, read and added.
const SUM_RATE: usize = 2_000;
/// Cycles of the launch that adds the parts.
const LAUNCH: usize = 4_000;
/// Most parts that are worth their sums.
const MOST: usize = 16;

/// Parts that the depth of `steps` steps is cut into, for `tiles` output tiles of a cluster each and
/// `outputs` sums: what a simple model of the device predicts to be fastest. Every part has a step.
pub(crate) fn parts_of_depth(
    plan: &WgmmaBlueprint,
    tiles: usize,
    steps: usize,
    outputs: usize,
    device: &DeviceFacts,
) -> usize {
    let cores = device.cuda.map_or(1, |cuda| cuda.multiprocessors as usize);
    let slots = (cores / plan.multicast).max(1);
    let cycles = |parts: usize| {
        let waves = (tiles * parts).div_ceil(slots);
        let sums = match parts {
            1 => 0,
            _ => LAUNCH + 2 * parts * outputs * size_of::<f32>() / SUM_RATE,
        };
        waves * (steps.div_ceil(parts) * STEP + TILE) + sums
    };
    let every_part_has_a_step = |parts: &usize| (parts - 1) * steps.div_ceil(*parts) < steps;
    let parts = (1..=MOST.min(steps)).filter(every_part_has_a_step);
    parts.min_by_key(|parts| cycles(*parts)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::test_gpus::HOPPER;

    const PLAN: WgmmaBlueprint = WgmmaBlueprint {
        warpgroups: 2,
        tiles: 1,
        tokens: 256,
        stages: 4,
        splits: 1,
        multicast: 2,
        group: 8,
    };

    fn parts(rows: usize, cols: usize, depth: usize) -> usize {
        let tiles = rows.div_ceil(256) * cols.div_ceil(256);
        parts_of_depth(&PLAN, tiles, depth.div_ceil(64), rows * cols, &HOPPER)
    }

    #[test]
    fn few_tiles_of_much_depth_are_cut() {
        // The weight gradients of a model of 768 features, 16 × 1024 tokens.
        assert_eq!(parts(768, 768, 16_384), 7);
        assert!(parts(2304, 768, 16_384) > 1);
        assert_eq!(parts(11_008, 4096, 8192), 1);
        assert_eq!(parts(768, 768, 64), 1);
    }

    #[test]
    fn every_part_has_a_step() {
        for depth in [1usize, 64, 65, 640, 4096, 5000] {
            let steps = depth.div_ceil(64);
            let parts = parts(256, 256, depth);
            assert!(
                (parts - 1) * steps.div_ceil(parts) < steps,
                "{depth}: {parts}"
            );
        }
    }
}
