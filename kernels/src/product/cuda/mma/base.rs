//! Plan of the warp GEMM.

use crate::device::{CudaFacts, DeviceFacts};
use crate::device_code::MmaType;
use crate::error::KernelError;
use crate::prepack::TILE_COLS;
use crate::product::MatmulProblem;
use crate::product::cuda::stage::{Copies, RowSpacing, STRIP_ROWS, StageShape};

/// The resolved plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MmaBlueprint {
    /// Warps of a cube along the weight rows.
    pub warps_n: usize,
    /// Warps of a cube along the tokens.
    pub warps_m: usize,
    /// Strips of 16 weight rows of a warp.
    pub strips: usize,
    /// Tiles of 8 tokens of a warp.
    pub token_tiles: usize,
    /// Column tiles in the ring of shared memory.
    pub stages: usize,
    /// Token tiles of cubes that run side by side, for the L2 cache.
    pub group: usize,
}

/// Bytes per cycle that a multiprocessor reads from L2 while all do.
const L2_RATE: usize = 24;
/// Minimum cycles of a step: a barrier, and latencies that the ring does not hide.
const STEP: usize = 250;
/// Cycles of a tile beside its steps: filling the ring, storing outputs.
const TILE: usize = 2_500;
/// Registers that a multiprocessor has for its cubes.
const REGISTERS: usize = 1 << 16;

impl MmaBlueprint {
    /// Deepest ring.
    const MAX_STAGES: usize = 6;

    /// Candidates of `(warps_n, warps_m, strips, token_tiles)`.
    const SHAPES: [(usize, usize, usize, usize); 8] = [
        (2, 2, 4, 8),
        (4, 2, 2, 8),
        (2, 2, 4, 4),
        (4, 1, 2, 8),
        (2, 2, 2, 4),
        (4, 1, 2, 4),
        (4, 1, 1, 4),
        (4, 1, 1, 2),
    ];

    /// The plan for `problem`: the sizes that a simple model of the device predicts to be fastest.
    pub fn new(problem: &MatmulProblem, types: MmaType, cuda: &CudaFacts) -> Self {
        // Half types need twice the copies, which leaves no registers for 32 accumulators.
        let most = if types == MmaType::Int8 { 32 } else { 16 };
        let plans = Self::SHAPES.map(|shape| Self::of(shape, types, cuda));
        let best = plans
            .into_iter()
            .filter(|plan| plan.accumulators() <= most)
            .min_by_key(|plan| plan.cycles(problem, types, cuda));
        best.expect("there are shapes")
    }

    fn of(
        (warps_n, warps_m, strips, token_tiles): (usize, usize, usize, usize),
        types: MmaType,
        cuda: &CudaFacts,
    ) -> Self {
        let mut plan = Self {
            warps_n,
            warps_m,
            strips,
            token_tiles,
            stages: 0,
            group: 8,
        };
        // Leaves shared memory for a second cube on the multiprocessor, so that their waits overlap.
        let half = match cuda.capability {
            80 | 87 => 80 << 10,
            90 | 100 => 112 << 10,
            _ => 49 << 10,
        };
        plan.stages = (half / plan.shape(types).bytes()).clamp(2, Self::MAX_STAGES);
        plan
    }

    /// Estimate of the product's cycles.
    pub(crate) fn cycles(
        &self,
        problem: &MatmulProblem,
        types: MmaType,
        cuda: &CudaFacts,
    ) -> usize {
        let tiles = problem.n.div_ceil(self.rows()) * problem.m.div_ceil(self.tokens());
        let waves = tiles.div_ceil(cuda.multiprocessors.max(1) as usize);
        // int8 multiply-adds per cycle and multiprocessor; on Hopper, `mma` reaches some 60 % of
        // the peak.
        let rate = match cuda.capability {
            80 | 87 => 2048,
            90 => 2500,
            _ => 1024,
        };
        let products = self.rows() * self.tokens() * TILE_COLS * types.size() / rate;
        let copies = self.shape(types).bytes() / L2_RATE;
        // Every warp along the tokens decodes the strips again. The smaller the tile, the fewer products
        // share that cost.
        let decoding = self.warps_m * self.rows() * TILE_COLS / 128;
        let steps = problem.k.div_ceil(TILE_COLS);
        waves * (steps * (products + decoding / 4).max(copies).max(STEP) + TILE)
    }

    /// Weight rows of a cube.
    pub const fn rows(&self) -> usize {
        self.warps_n * self.strips * STRIP_ROWS
    }

    /// Tokens of a cube.
    pub const fn tokens(&self) -> usize {
        self.warps_m * self.token_tiles * 8
    }

    /// Units of a cube.
    pub const fn units(&self) -> usize {
        self.warps_n * self.warps_m * 32
    }

    /// Accumulators of 4 registers of a unit.
    pub const fn accumulators(&self) -> usize {
        self.strips * self.token_tiles
    }

    /// Registers of a unit: accumulators, packed words, the decoded weights for 64 bytes of activations,
    /// and an allowance for addresses and activations.
    pub const fn registers(&self) -> usize {
        4 * self.accumulators() + 12 * self.strips + 44
    }

    pub(super) const fn shape(&self, types: MmaType) -> StageShape {
        StageShape {
            units: self.units(),
            tokens: self.tokens(),
            strips: self.warps_n * self.strips,
            element: types.size(),
            rows: RowSpacing::Swizzled,
            copies: Copies::Asynchronous,
        }
    }

    /// Bytes of shared memory.
    pub const fn shared_bytes(&self, types: MmaType) -> usize {
        self.stages * self.shape(types).bytes()
    }

    /// Checks that `device` can run the plan.
    ///
    /// # Errors
    /// [`KernelError::Plan`] for sizes that are zero or too large, for more units, registers or shared
    /// memory than a cube gets, and for a GPU before compute capability 8.0.
    pub fn validate(&self, types: MmaType, device: &DeviceFacts) -> Result<(), KernelError> {
        let ampere = device.ampere().is_some();
        let sizes = (1..=16).contains(&self.warps_n)
            && (1..=16).contains(&self.warps_m)
            && (1..=8).contains(&self.strips)
            && (1..=32).contains(&self.token_tiles)
            && (2..=16).contains(&self.stages)
            && self.group >= 1;
        if ampere
            && sizes
            && self.units() <= device.max_units as usize
            && self.registers() <= 255
            && self.units() * self.registers() <= REGISTERS
            && self.shared_bytes(types) <= device.shared_bytes
        {
            return Ok(());
        }
        Err(KernelError::Plan {
            reason: format!(
                "{self:?} wants a GPU of compute capability 8.0 or later (this is {:?}), at least \
                 2 stages, at most {} units, 255 registers a unit and {REGISTERS} a cube, and at \
                 most {} bytes of shared memory",
                device.cuda.map(|cuda| cuda.capability),
                device.max_units,
                device.shared_bytes
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::test_gpus::{AMPERE, AMPERE_AND_LATER, HOPPER, ORIN};
    use crate::product::problem::problem;

    #[test]
    fn every_plan_fits_every_gpu() {
        for device in AMPERE_AND_LATER {
            let cuda = device.cuda.unwrap();
            for types in [MmaType::Int8, MmaType::Bf16, MmaType::F16] {
                for shape in MmaBlueprint::SHAPES {
                    let plan = MmaBlueprint::of(shape, types, &cuda);
                    assert_eq!(plan.validate(types, &device), Ok(()), "{plan:?} {device:?}");
                }
            }
        }
    }

    #[test]
    fn two_cubes_of_the_large_int8_plan_share_an_orin_multiprocessor() {
        let plan = MmaBlueprint::of((2, 2, 4, 8), MmaType::Int8, &ORIN.cuda.unwrap());
        assert_eq!((plan.rows(), plan.tokens(), plan.stages), (128, 128, 4));
        assert_eq!(plan.shared_bytes(MmaType::Int8), 4 * (16_384 + 4_096));
        assert!(2 * plan.shared_bytes(MmaType::Int8) <= ORIN.shared_bytes);
        assert!(2 * plan.units() * plan.registers() <= REGISTERS);
    }

    #[test]
    fn tiles_grow_with_the_product() {
        let cuda = AMPERE.cuda.unwrap();
        let area = |m| {
            let plan = MmaBlueprint::new(&problem(m, 4096, 4096), MmaType::Int8, &cuda);
            plan.rows() * plan.tokens()
        };
        assert!(area(17) < area(512));
        assert_eq!(area(8192), 128 * 128);
    }

    #[test]
    fn oversized_plans_are_refused() {
        let plan = MmaBlueprint::of((2, 2, 4, 8), MmaType::Int8, &HOPPER.cuda.unwrap());
        let refused = |plan: MmaBlueprint| plan.validate(MmaType::Int8, &HOPPER).is_err();
        assert!(!refused(plan));
        assert!(refused(MmaBlueprint { stages: 1, ..plan }));
        assert!(refused(MmaBlueprint { stages: 12, ..plan }));
        assert!(refused(MmaBlueprint {
            token_tiles: 16,
            ..plan
        }));
        assert!(refused(MmaBlueprint { warps_n: 8, ..plan }));
        assert!(refused(MmaBlueprint { warps_m: 0, ..plan }));
        let turing = DeviceFacts {
            cuda: Some(CudaFacts {
                capability: 75,
                multiprocessors: 40,
            }),
            ..HOPPER
        };
        assert!(plan.validate(MmaType::Int8, &turing).is_err());
    }
}
