//! Plan of the tensor-core GEMV.

use crate::device::{CudaFacts, DeviceFacts};
use crate::error::KernelError;
use crate::matmul::MatmulProblem;
use crate::prepack::TILE_COLS;
use crate::ptx::MmaType;

/// Rows of a strip: what one warp multiplies.
pub const STRIP_ROWS: usize = 16;

/// How activations reach the tensor cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operand {
    /// What is multiplied.
    pub types: MmaType,
    /// Summands of an activation: 3 for f32, which three bf16 hold exactly.
    pub terms: usize,
}

/// The resolved plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SkinnyBlueprint {
    /// Strips of 16 weight rows of a cube.
    pub strips: usize,
    /// Warps that share a strip's columns.
    pub splits: usize,
    /// Tokens of a cube, 1 to 16.
    pub tokens: usize,
    /// Column tiles of weights that a warp has under way.
    pub ahead: usize,
    /// Column tiles whose activations lie in shared memory at once: a multiple of
    /// `splits · ahead`, or all there are.
    pub chunk: usize,
}

impl SkinnyBlueprint {
    /// Most tokens of one pass over the weights.
    pub const MAX_TOKENS: usize = 16;

    /// Bytes of shared memory that activations get: several cubes fit a multiprocessor.
    const STAGE_BYTES: usize = 40 << 10;

    /// The plan for `problem`.
    pub fn new(problem: &MatmulProblem, operand: Operand, cuda: &CudaFacts) -> Self {
        let tokens = problem.m.clamp(1, Self::MAX_TOKENS).next_power_of_two();
        let strips = problem.n.div_ceil(STRIP_ROWS);
        let tiles = problem.k.div_ceil(TILE_COLS);
        let cores = cuda.multiprocessors as usize;
        let per_core = strips / cores.max(1);
        let tile_bytes = TILE_COLS * operand.types.size();
        let chunk = (Self::STAGE_BYTES / (tokens * operand.terms * tile_bytes)).clamp(1, 128);
        // Staging many tokens costs more than idle multiprocessors.
        let (per_cube, shares) = match tokens >= 8 {
            true => (4, 4),
            // Short rows of a large matrix: small cubes, which more fit of.
            false if per_core >= 4 && tiles <= 32 => (1, 4),
            false => (1, 8),
        };
        let splits = shares
            .min(tiles.next_power_of_two())
            .min(1 << chunk.ilog2());
        // Loads under way hide latency where cubes are few; where they are many, registers are dear.
        let most = match operand.types {
            _ if tokens >= 8 || operand.terms > 1 => 4,
            _ if per_core >= 3 => 3,
            MmaType::Int8 => 8,
            _ => 4,
        };
        let ahead = tiles.div_ceil(splits).min(most).min(chunk / splits);
        let round = splits * ahead;
        Self {
            strips: per_cube,
            splits,
            tokens,
            ahead,
            chunk: match chunk < tiles {
                true => chunk / round * round,
                false => chunk.min(tiles.next_power_of_two()),
            },
        }
    }

    /// Units of a cube.
    pub const fn units(&self) -> usize {
        self.strips * self.splits * 32
    }

    /// Tiles of 8 tokens.
    pub const fn token_tiles(&self) -> usize {
        self.tokens.div_ceil(8)
    }

    /// Bytes between tokens in shared memory: a bank further each, for `ldmatrix`.
    pub(super) const fn pitch(&self, operand: Operand) -> usize {
        self.chunk * TILE_COLS * operand.types.size() + 16
    }

    /// Accumulators of 4 registers that a lane keeps.
    pub(super) const fn accumulators(&self, operand: Operand) -> usize {
        self.token_tiles() * operand.terms
    }

    /// Words of shared memory: activations and 16 bytes of zeros, then the partial sums.
    pub(super) const fn shared_words(&self, operand: Operand) -> usize {
        let stage = self.tokens * operand.terms * self.pitch(operand) / 4 + 4;
        let sums = self.units() * self.accumulators(operand) * 4;
        if stage > sums { stage } else { sums }
    }

    /// # Errors
    /// [`KernelError::Plan`] for empty or oversized numbers, a chunk that cuts the rounds of a row of
    /// `cols` inputs, or more units or shared memory than `device` has.
    pub fn validate(
        &self,
        operand: Operand,
        cols: usize,
        device: &DeviceFacts,
    ) -> Result<(), KernelError> {
        let sizes = (1..=Self::MAX_TOKENS).contains(&self.tokens)
            && (1..=8).contains(&self.ahead)
            && (1..=1024).contains(&self.chunk)
            && self.strips >= 1
            && self.splits >= 1;
        let whole = self.chunk >= cols.div_ceil(TILE_COLS)
            || (sizes && self.chunk.is_multiple_of(self.splits * self.ahead));
        let units = self.units() <= device.max_units as usize;
        let shared = 4 * self.shared_words(operand) <= device.shared_bytes;
        if sizes && whole && units && shared {
            return Ok(());
        }
        Err(KernelError::Plan {
            reason: format!(
                "{self:?} wants 1 to 16 tokens, 1 to 8 tiles ahead, whole rounds of splits and tiles \
                 ahead in a chunk of {cols} columns, at most {} units and {} bytes of shared memory",
                device.max_units, device.shared_bytes
            ),
        })
    }
}
