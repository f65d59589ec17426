//! Split-K: divides the contracted dimension into parts where a product has fewer output tiles than the
//! device has clusters. Used by the gradient of the weights and by [`dense`](crate::dense).

use cubecl::prelude::*;

use super::base::WgmmaBlueprint;
use crate::device::DeviceFacts;
use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix, FloatType};
use crate::rows::add_parts;

/// Cycles of a step of 128 × 256 × 64 half-precision products, measured.
const STEP: usize = 1_290;
/// Cycles of an output tile beside its steps: filling the ring, storing sums.
const TILE: usize = 4_000;
/// Bytes a cycle at which sums are written, read and added.
const SUM_RATE: usize = 2_000;
/// Cycles of the launch that adds the parts.
const LAUNCH: usize = 4_000;
/// Most parts: with more, adding the partial sums takes longer than it saves.
const MOST: usize = 16;

/// The parts of a product's depth, and the memory for their partial sums.
pub(crate) struct Parts {
    /// Number of parts.
    pub count: usize,
    /// Steps of a part. The last part may have fewer.
    pub share: usize,
    /// If there are several parts: one f32 matrix of partial sums per part, one after another.
    sums: Option<Buffer>,
}

impl Parts {
    /// Divides a depth of `steps` steps for an `out` of `tiles` output tiles. An output that is not
    /// contiguous gets a single part, because parts are added as contiguous matrices.
    pub fn new(
        client: &Client,
        plan: &WgmmaBlueprint,
        tiles: usize,
        steps: usize,
        out: &FloatMatrix,
        device: &DeviceFacts,
    ) -> Self {
        let outputs = out.rows() * out.cols();
        let count = match out.is_contiguous() {
            true => parts_of_depth(plan.clusters(device).max(1), tiles, steps, outputs),
            false => 1,
        };
        let len = count * outputs;
        Self {
            count,
            share: steps.div_ceil(count),
            sums: (count > 1).then(|| Buffer::new(client.empty(len * size_of::<f32>()), len)),
        }
    }

    /// Whether the kernel writes to `out` itself.
    pub fn write_to_output(&self) -> bool {
        self.sums.is_none()
    }

    /// The kernel's output in lines of `width`: argument, number of elements and type.
    pub fn target(&self, out: &FloatMatrix, width: usize) -> (BufferArg, usize, FloatType) {
        match &self.sums {
            Some(sums) => (sums.lines(width), sums.len(), FloatType::F32),
            None => (out.lines(width), out.extent(), out.dtype()),
        }
    }

    /// Launches the addition of the parts, after the kernel: into `out`, or onto its values if
    /// `accumulate`.
    pub fn finish(
        self,
        client: &Client,
        out: &FloatMatrix,
        accumulate: bool,
    ) -> Result<(), KernelError> {
        match self.sums {
            Some(sums) => add_parts(client, &sums, out, accumulate),
            None => Ok(()),
        }
    }
}

/// Whether no part is empty if `steps` steps are divided into `parts` shares of equal size, rounded up.
pub(crate) const fn every_part_has_some(parts: usize, steps: usize) -> bool {
    (parts - 1) * steps.div_ceil(parts) < steps
}

/// The number of parts that a simple model of the device predicts to be fastest, for a depth of `steps`
/// steps and `tiles` output tiles of one cluster each, of which `clusters` run at once, with `outputs`
/// sums in all. No part is empty.
fn parts_of_depth(clusters: usize, tiles: usize, steps: usize, outputs: usize) -> usize {
    let cycles = |parts: usize| {
        let waves = (tiles * parts).div_ceil(clusters);
        let sums = match parts {
            1 => 0,
            _ => LAUNCH + 2 * parts * outputs * size_of::<f32>() / SUM_RATE,
        };
        waves * (steps.div_ceil(parts) * STEP + TILE) + sums
    };
    let parts = (1..=MOST.min(steps)).filter(|parts| every_part_has_some(*parts, steps));
    parts.min_by_key(|parts| cycles(*parts)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On an H200, in clusters of two cubes.
    fn parts(rows: usize, cols: usize, depth: usize) -> usize {
        let tiles = rows.div_ceil(256) * cols.div_ceil(256);
        parts_of_depth(132 / 2, tiles, depth.div_ceil(64), rows * cols)
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
