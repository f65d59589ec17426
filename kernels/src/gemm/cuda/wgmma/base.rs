//! Plan of the warpgroup GEMM.

use crate::device::{CudaFacts, DeviceFacts};
use crate::error::KernelError;
use crate::matmul::MatmulProblem;
use crate::prepack::{TILE_COLS, TILE_ROWS};
use crate::ptx::MmaType;

/// The resolved plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WgmmaBlueprint {
    /// Warpgroups of a cube, side by side along the weight rows.
    pub warpgroups: usize,
    /// 64-row tiles of a warpgroup.
    pub tiles: usize,
    /// Tokens of a cube: 16, 32, 64, 128 or 256.
    pub tokens: usize,
    /// Column tiles in the ring of shared memory.
    pub stages: usize,
    /// Token tiles that neighbouring cubes work on, for the L2 cache.
    pub group: usize,
}

/// Multiply-adds of one cycle and multiprocessor: int8; half types have half of it.
const INT8_RATE: usize = 4096;
/// Bytes that a multiprocessor draws from L2 in a cycle when all do.
const L2_RATE: usize = 28;
/// Cycles of a tile that are neither products nor copies: filling the ring, storing outputs.
const TILE_OVERHEAD: usize = 3_500;

impl WgmmaBlueprint {
    /// Largest ring.
    const MAX_STAGES: usize = 8;

    /// The plan for `problem`: the tile that a simple model of the device holds for fastest.
    pub fn new(problem: &MatmulProblem, types: MmaType, cuda: &CudaFacts) -> Self {
        let shapes = [(2, 2, 128), (2, 1, 256), (2, 1, 128), (2, 1, 64), (1, 1, 128), (1, 1, 64)];
        let small = [(2, 1, 32), (1, 1, 32)];
        let all = shapes.iter().chain(&small);
        let plans = all.map(|&(warpgroups, tiles, tokens)| Self {
            warpgroups,
            tiles,
            tokens,
            stages: 0,
            group: 8,
        });
        let best = plans.min_by_key(|plan| plan.cycles(problem, types, cuda));
        let mut plan = best.expect("there are shapes");
        plan.stages = (200 << 10) / plan.stage_bytes(types);
        plan.stages = plan.stages.clamp(4, Self::MAX_STAGES);
        plan
    }

    /// Cycles that the product takes, by and large.
    fn cycles(&self, problem: &MatmulProblem, types: MmaType, cuda: &CudaFacts) -> usize {
        let tiles = problem.n.div_ceil(self.rows()) * problem.m.div_ceil(self.tokens);
        let waves = tiles.div_ceil(cuda.multiprocessors as usize);
        let rate = INT8_RATE / types.size();
        // One warpgroup leaves gaps between its products that a second one fills.
        let gaps = if self.warpgroups == 1 { 3 } else { 2 };
        let products = self.rows() * self.tokens * TILE_COLS / rate * gaps / 2;
        let copies = self.stage_bytes(types) / L2_RATE;
        let steps = problem.k.div_ceil(TILE_COLS);
        waves * (steps * products.max(copies) + TILE_OVERHEAD)
    }

    /// Weight rows of a cube.
    pub const fn rows(&self) -> usize {
        self.warpgroups * self.tiles * TILE_ROWS
    }

    /// Units of a cube.
    pub const fn units(&self) -> usize {
        self.warpgroups * 128
    }

    /// Accumulator registers of a unit.
    pub const fn accumulators(&self) -> usize {
        self.tiles * self.tokens / 2
    }

    /// Bytes of activations of a stage.
    pub(super) const fn x_bytes(&self, types: MmaType) -> usize {
        self.tokens * TILE_COLS * types.size()
    }

    /// Bytes of a stage: activations, then packed weights.
    pub const fn stage_bytes(&self, types: MmaType) -> usize {
        self.x_bytes(types) + self.rows() * TILE_COLS / 4
    }

    /// Bytes of shared memory, with room to align the first stage.
    pub const fn shared_bytes(&self, types: MmaType) -> usize {
        self.stages * self.stage_bytes(types) + 1024
    }

    /// # Errors
    /// [`KernelError::Plan`] for sizes that the instruction does not have, more registers or shared
    /// memory than a cube gets, or a device that is no Hopper GPU.
    pub fn validate(&self, types: MmaType, device: &DeviceFacts) -> Result<(), KernelError> {
        let hopper = device.cuda.is_some_and(|cuda| cuda.capability == 90);
        let sizes = matches!(self.warpgroups, 1..=4)
            && matches!(self.tiles, 1 | 2)
            && matches!(self.tokens, 16 | 32 | 64 | 128 | 256)
            && self.group >= 1
            && self.stages >= 4;
        // 64 Ki registers a multiprocessor, some 60 a unit beside the accumulators.
        let registers = self.units() * (self.accumulators() + 60) <= 1 << 16;
        let shared = self.shared_bytes(types) <= device.shared_bytes;
        // Every unit copies whole lines.
        let lines = (self.tokens * 8).is_multiple_of(self.units());
        if hopper && sizes && registers && self.accumulators() <= 128 && shared && lines {
            return Ok(());
        }
        Err(KernelError::Plan {
            reason: format!(
                "{self:?} wants a GPU of compute capability 9.0 (this is {:?}), 16 to 256 tokens, \
                 at most 128 accumulators a unit, 4 stages or more and at most {} bytes of shared \
                 memory",
                device.cuda.map(|cuda| cuda.capability),
                device.shared_bytes
            ),
        })
    }
}
