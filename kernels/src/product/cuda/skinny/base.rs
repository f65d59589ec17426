//! Plan of the tensor-core GEMV.

use crate::device::{CudaFacts, DeviceFacts};
use crate::device_code::MmaType;
use crate::error::KernelError;
use crate::operand::FloatType;
use crate::prepack::TILE_COLS;
use crate::product::MatmulProblem;
use crate::product::cuda::MmaInput;

/// Rows of a strip: what one warp multiplies.
pub const STRIP_ROWS: usize = 16;

/// The resolved plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SkinnyBlueprint {
    /// Strips of 16 weight rows of a cube.
    pub strips: usize,
    /// Warps that share a strip's columns.
    pub splits: usize,
    /// Tokens of a cube, 1 to 16.
    pub tokens: usize,
    /// Prefetch depth: column tiles of weights that a warp has in flight.
    pub ahead: usize,
    /// Column tiles whose activations lie in shared memory at once: a multiple of
    /// `splits · ahead`, or all there are.
    pub chunk: usize,
    /// Whether each warp loads the activations of its own columns, so that the main loop needs no
    /// barrier. Only for one token, and for rows that fit one round of `splits · ahead` column tiles.
    pub per_warp: bool,
    /// Whether the warps load floats and round them to int8 themselves
    /// ([`w2a8_quantizing`](crate::product::w2a8_quantizing)). Only with `per_warp`, on Hopper GPUs, and
    /// for rows of whole 16-byte lines.
    pub quantizes: bool,
}

impl SkinnyBlueprint {
    /// Most tokens of one pass over the weights.
    pub const MAX_TOKENS: usize = 16;

    /// Most bytes of shared memory for activations, so that several cubes fit a multiprocessor.
    const STAGE_BYTES: usize = 40 << 10;

    /// Most words of sums that get shared memory of their own; more overwrite the activations.
    const APART: usize = 512;

    /// Most column tiles for which `per_warp` is chosen: for longer rows a shared stage was as fast or
    /// faster.
    const OWN_TILES: usize = 32;

    /// Largest prefetch depth, in column tiles, and that with 32 warps a cube.
    const MAX_AHEAD: usize = 8;
    const MAX_OWN_TILES: usize = 32 * Self::MAX_AHEAD;

    /// Warps that are resident on a multiprocessor.
    const fn warps(cuda: &CudaFacts) -> usize {
        match cuda.capability {
            86 | 87 | 89 => 48,
            _ => 64,
        }
    }

    /// The plan for `problem`.
    pub fn new(problem: &MatmulProblem, operand: MmaInput, cuda: &CudaFacts) -> Self {
        let tokens = problem.m.clamp(1, Self::MAX_TOKENS).next_power_of_two();
        let strips = problem.n.div_ceil(STRIP_ROWS);
        let tiles = problem.k.div_ceil(TILE_COLS);
        let cores = (cuda.multiprocessors as usize).max(1);
        if tokens == 1 && operand.terms == 1 && problem.whole_lines && tiles <= Self::OWN_TILES {
            return Self::own(tiles, strips.div_ceil(cores), cuda);
        }
        let per_core = strips / cores;
        let tile_bytes = TILE_COLS * operand.types.size();
        let chunk = (Self::STAGE_BYTES / (tokens * operand.terms * tile_bytes)).clamp(1, 128);
        // With one or two cubes a multiprocessor, long rows have work for more warps.
        let long = per_core < 2 && tokens == 1 && tiles > Self::OWN_TILES;
        // With many tokens, staging them in more cubes costs more than idle multiprocessors do. Short rows
        // of a large matrix run in small cubes, of which more fit a multiprocessor.
        let (per_cube, shares) = match tokens >= 8 {
            true => (4, [4, 4]),
            false if per_core >= 4 && tiles <= 32 => (1, [4, 5]),
            false if long => (1, [16, 16]),
            false => (1, [8, 10]),
        };
        // With few cubes, loads in flight hide latency; with many, registers limit occupancy.
        let most = match tokens < 8 && operand.terms == 1 && (per_core >= 3 || long) {
            true => 3,
            false => 4,
        };
        let rounds = |shares: usize| {
            let splits = shares.min(tiles.next_power_of_two()).min(chunk);
            let each = tiles.div_ceil(splits);
            let rounds = each.div_ceil(most.min(chunk / splits));
            (splits, each.div_ceil(rounds), rounds)
        };
        // Takes the second number of warps if no warp of it would be idle.
        let [first, second] = shares.map(rounds);
        let whole = |(splits, ahead, rounds)| splits * ahead * rounds == tiles;
        let (splits, ahead, _) = match (whole(first), whole(second)) {
            (false, true) => second,
            _ => first,
        };
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
            per_warp: false,
            quantizes: false,
        }
    }

    /// The plan of one launch that quantises a single token and multiplies. `None` if `problem` has more
    /// tokens, or if two launches are faster: every cube quantises the token again.
    pub(crate) fn quantizing(
        problem: &MatmulProblem,
        dtype: FloatType,
        cuda: &CudaFacts,
    ) -> Option<Self> {
        let strips = problem.n.div_ceil(STRIP_ROWS);
        let tiles = problem.k.div_ceil(TILE_COLS);
        let cubes = strips.div_ceil((cuda.multiprocessors as usize).max(1));
        let lines = problem.whole_lines && (problem.k * dtype.size()).is_multiple_of(16);
        // Measured, one launch against two: 7.9 and 8.4 µs at 8192×8192 (256 tiles a multiprocessor),
        // 19.9 and 18.6 µs at 28672×8192 (896).
        let fits = tiles > 0 && tiles <= Self::MAX_OWN_TILES && cubes * tiles <= 512;
        let runs = cuda.capability == 90 && problem.m == 1 && lines && fits;
        // Few warps, because all of them synchronise to find the largest magnitude.
        let ahead = tiles.clamp(1, 4).max(tiles.div_ceil(20));
        runs.then(|| Self {
            quantizes: true,
            ..Self::round(tiles, ahead)
        })
    }

    /// The `per_warp` plan for one token, where a multiprocessor gets up to `cubes` strips.
    fn own(tiles: usize, cubes: usize, cuda: &CudaFacts) -> Self {
        // Measured with rows of 20, 25 and 32 tiles: one tile a warp if all warps are resident, two with
        // few cubes, and a larger prefetch depth if multiprocessors are full anyway.
        let ahead = match (cubes, tiles) {
            _ if cubes * tiles <= Self::warps(cuda) => 1,
            (..=4, _) | (_, 22..=26) => 2,
            (_, ..22) => 3,
            _ => 4,
        };
        Self::round(tiles, ahead)
    }

    /// A round of warps with `ahead` column tiles each, or more if that would take too many warps.
    fn round(tiles: usize, ahead: usize) -> Self {
        let ahead = ahead.max(tiles.div_ceil(32)).min(Self::MAX_AHEAD);
        Self::one_round(tiles.div_ceil(ahead), ahead)
    }

    /// A `per_warp` plan: `splits` warps a strip, each of which loads and multiplies `ahead` column tiles
    /// of one token.
    pub const fn one_round(splits: usize, ahead: usize) -> Self {
        Self {
            strips: 1,
            splits,
            tokens: 1,
            ahead,
            chunk: splits * ahead,
            per_warp: true,
            quantizes: false,
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

    /// Bytes from token to token in shared memory: 16 more than a row, so that the rows that `ldmatrix`
    /// reads lie in different banks.
    pub(super) const fn pitch(&self, operand: MmaInput) -> usize {
        self.chunk * TILE_COLS * operand.types.size() + 16
    }

    /// Accumulators of 4 registers that a lane keeps.
    pub(super) const fn accumulators(&self, operand: MmaInput) -> usize {
        self.token_tiles() * operand.terms
    }

    /// Pairs of outputs that a unit writes.
    pub(super) const fn passes(&self) -> usize {
        self.tokens.div_ceil(4 * self.splits)
    }

    /// Words of shared memory that activations take.
    const fn stage_words(&self, operand: MmaInput) -> usize {
        match self.per_warp {
            // Followed by the largest magnitudes, padded to whole lines.
            true => {
                let warps = self.strips * self.splits;
                let tiles = warps * self.ahead * TILE_COLS * operand.types.size() / 4;
                tiles + (warps * self.quantizes as usize).next_multiple_of(4)
            }
            false => self.tokens * operand.terms * self.pitch(operand) / 4,
        }
    }

    /// Words of shared memory that the sums of all warps take: 16 rows of every token.
    const fn sum_words(&self) -> usize {
        self.strips * self.splits * STRIP_ROWS * self.tokens
    }

    /// First word of the sums. If they are few they follow the activations, which saves a barrier;
    /// otherwise they overwrite them.
    pub(super) const fn sums_at(&self, operand: MmaInput) -> usize {
        match self.per_warp || self.sum_words() <= Self::APART {
            true => self.stage_words(operand),
            false => 0,
        }
    }

    /// Words of shared memory.
    pub(super) const fn shared_words(&self, operand: MmaInput) -> usize {
        let (stage, sums) = (self.stage_words(operand), self.sum_words());
        match self.sums_at(operand) {
            0 if stage > sums => stage,
            0 => sums,
            apart => apart + sums,
        }
    }

    /// Checks that `device` can run the plan.
    ///
    /// # Errors
    /// [`KernelError::Plan`] for
    /// - sizes that are zero or too large, a chunk that is no whole number of rounds, more units or
    ///   shared memory than `device` has, or a device before compute capability 8.0;
    /// - `per_warp` with several tokens, f32 activations, or rows longer than a round;
    /// - `quantizes` without `per_warp`, with half-precision weights, or on a device that is no Hopper GPU.
    pub fn validate(
        &self,
        operand: MmaInput,
        cols: usize,
        device: &DeviceFacts,
    ) -> Result<(), KernelError> {
        let sizes = (1..=Self::MAX_TOKENS).contains(&self.tokens)
            && (1..=Self::MAX_AHEAD).contains(&self.ahead)
            && (1..=1024).contains(&self.chunk)
            && self.strips >= 1
            && self.splits >= 1;
        let whole = self.chunk >= cols.div_ceil(TILE_COLS)
            || (sizes && self.chunk.is_multiple_of(self.splits * self.ahead));
        let units = self.units() <= device.max_units as usize;
        let shared = 4 * self.shared_words(operand) <= device.shared_bytes;
        let per_warp = !self.per_warp
            || (self.tokens == 1
                && operand.terms == 1
                && cols.div_ceil(TILE_COLS) <= self.splits * self.ahead);
        let hopper = device.cuda.is_some_and(|cuda| cuda.capability == 90);
        let quantizes =
            !self.quantizes || (self.per_warp && operand.types == MmaType::Int8 && hopper);
        let ampere = device.ampere().is_some();
        if ampere && sizes && whole && per_warp && quantizes && units && shared {
            return Ok(());
        }
        Err(KernelError::Plan {
            reason: format!(
                "{self:?} wants a GPU of compute capability 8.0 or later, 1 to 16 tokens, 1 to 8 tiles \
                 ahead, whole rounds of splits and tiles ahead in a chunk of {cols} columns, at most {} \
                 units and {} bytes of shared memory; if `per_warp`, one token that is not f32, and one \
                 round; if it quantises, `per_warp`, int8 and a Hopper GPU",
                device.max_units, device.shared_bytes
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::test_gpus::{AMPERE_AND_LATER, HOPPER};
    use crate::product::problem::problem;

    const INT8: MmaInput = MmaInput {
        types: MmaType::Int8,
        terms: 1,
    };
    const BF16: MmaInput = MmaInput {
        types: MmaType::Bf16,
        terms: 1,
    };
    const F32: MmaInput = MmaInput {
        types: MmaType::Bf16,
        terms: 3,
    };

    #[test]
    fn every_plan_fits_and_cuts_rows_between_rounds() {
        let sizes = [1, 127, 2560, 3200, 6912, 28_672];
        for (device, operand) in AMPERE_AND_LATER
            .iter()
            .flat_map(|gpu| [INT8, BF16, F32].map(|o| (gpu, o)))
        {
            let cuda = device.cuda.unwrap();
            for (n, k) in sizes.iter().flat_map(|&n| sizes.map(|k| (n, k))) {
                for m in [1, 2, 3, 8, 16, 127, 2560] {
                    let plan = SkinnyBlueprint::new(&problem(m, n, k), operand, &cuda);
                    let what = format!("{plan:?} {operand:?} {m} x {n} x {k}");
                    assert_eq!(plan.validate(operand, k, device), Ok(()), "{what}");
                    let whole = plan.chunk.is_multiple_of(plan.splits * plan.ahead);
                    assert!(whole || plan.chunk >= k.div_ceil(TILE_COLS), "{what}");
                }
            }
        }
    }

    #[test]
    fn every_plan_that_quantises_fits() {
        let cuda = HOPPER.cuda.unwrap();
        let mut found = 0;
        for k in (8..40_000).step_by(56) {
            for (n, dtype) in [
                (16, FloatType::F32),
                (4096, FloatType::BF16),
                (28_672, FloatType::F16),
            ] {
                if let Some(plan) = SkinnyBlueprint::quantizing(&problem(1, n, k), dtype, &cuda) {
                    assert_eq!(
                        plan.validate(INT8, k, &HOPPER),
                        Ok(()),
                        "{plan:?} {n} x {k}"
                    );
                    found += 1;
                }
            }
        }
        assert!(found > 500, "{found}");
    }

    #[test]
    fn chunks_that_cut_a_round_are_refused() {
        let plan = SkinnyBlueprint {
            strips: 1,
            splits: 4,
            tokens: 1,
            ahead: 2,
            chunk: 12,
            per_warp: false,
            quantizes: false,
        };
        let cols = 12 * TILE_COLS;
        assert_eq!(plan.validate(INT8, cols, &HOPPER), Ok(()));
        assert!(plan.validate(INT8, cols + 1, &HOPPER).is_err());
    }
}
