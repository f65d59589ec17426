//! Plan of the warpgroup GEMM.

use crate::device::{CudaFacts, DeviceFacts};
use crate::device_code::MmaType;
use crate::error::KernelError;
use crate::prepack::{TILE_COLS, TILE_ROWS};
use crate::product::MatmulProblem;

use super::parts::every_part_has_some;
use super::ring::RingShape;

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
    /// Cubes of a cluster that share the columns of an output tile: 1, 2, 4 or 8.
    pub splits: usize,
    /// Cubes of a cluster that work on the same tokens, with weight rows of their own; activations
    /// are copied once for all (multicast). 1 or 2; 2 only with two warpgroups and without splits.
    pub multicast: usize,
    /// Token tiles of cubes that run side by side, for the L2 cache.
    pub group: usize,
}

/// Multiply-adds of one cycle and multiprocessor: int8; half types have half of it.
const INT8_RATE: usize = 4096;
/// Bytes per cycle that a multiprocessor reads from L2 while all do.
const L2_RATE: usize = 18;
/// Minimum cycles of a step, a constant and per warpgroup: barriers, and latencies that the ring
/// does not hide.
const STEP: [usize; 2] = [460, 40];
/// Bytes per cycle that a multiprocessor reads through tensor maps. Multicast bytes count once per
/// cluster.
const MULTICAST_RATE: usize = 20;
/// Cycles of a step of cubes that share activations: a constant, and the minimum for decoding, per tile
/// and byte of an element.
const SHARED_STEP: [usize; 2] = [80, 330];
/// Cycles until the cubes that share activations have initialised their barriers.
const OPENING: usize = 400;
/// Cycles of an output tile beside its steps: filling the ring, storing outputs.
const TILE: usize = 3_000;
/// Cycles for exchanging sums in a cluster: a constant, and per accumulator register.
const EXCHANGE: [usize; 2] = [600, 20];
/// Shared memory that one cube may have: 1 KiB less than a multiprocessor's.
const SHARED: usize = 227 << 10;

impl WgmmaBlueprint {
    /// Largest ring.
    const MAX_STAGES: usize = 8;

    /// Candidates of `(warpgroups, tiles, tokens)`.
    const SHAPES: [(usize, usize, usize); 13] = [
        (2, 2, 128),
        (2, 1, 256),
        (2, 1, 128),
        (2, 2, 64),
        (2, 1, 64),
        (2, 2, 32),
        (2, 1, 32),
        (1, 1, 128),
        (1, 1, 64),
        (1, 1, 32),
        (1, 1, 16),
        (1, 2, 32),
        (1, 2, 16),
    ];

    /// The plan for `problem`: the sizes that a simple model of the device predicts to be fastest.
    pub fn new(problem: &MatmulProblem, types: MmaType, cuda: &CudaFacts) -> Self {
        let best = Self::ranked(problem, types, cuda).into_iter().next();
        best.expect("there are shapes without a split")
    }

    /// The plans that can run `problem`, the predicted fastest first.
    pub fn ranked(problem: &MatmulProblem, types: MmaType, cuda: &CudaFacts) -> Vec<Self> {
        let mut all = Self::candidates(problem, types, cuda);
        all.sort_by_key(|plan| plan.cycles(problem, types, cuda));
        all
    }

    /// The plans that can run `problem`.
    pub fn candidates(problem: &MatmulProblem, types: MmaType, cuda: &CudaFacts) -> Vec<Self> {
        let steps = problem.k.div_ceil(TILE_COLS);
        let cores = cuda.multiprocessors as usize;
        let shapes = Self::SHAPES.into_iter();
        // (splits, multicast)
        let clusters = [(1, 1), (2, 1), (4, 1), (8, 1), (1, 2)];
        let clusters = shapes.flat_map(|shape| clusters.map(|cluster| (shape, cluster)));
        clusters
            .filter_map(move |((warpgroups, tiles, tokens), (splits, multicast))| {
                let mut plan = Self {
                    warpgroups,
                    tiles,
                    tokens,
                    stages: 0,
                    splits,
                    multicast,
                    group: 8,
                };
                let count = plan.output_tiles(problem);
                // A cluster that hands over more than 64 registers a unit never paid.
                let splittable = plan.divides(steps) && plan.accumulators() <= 64;
                let room = (220usize << 10)
                    .saturating_sub(plan.sum_bytes())
                    .min(200 << 10);
                plan.stages = (room / plan.stage_bytes(types)).clamp(4, Self::MAX_STAGES);
                // A cluster must lie within a GPC of 16 or 18 multiprocessors. With one cube per
                // multiprocessor, large clusters leave some of them idle.
                let alone = 2 * plan.shared_bytes(types) > SHARED;
                let slots = match splits {
                    4.. if alone => cores * 7 / 8,
                    _ => cores,
                };
                let fits = match multicast {
                    1 => splits == 1 || (splittable && count * splits <= slots),
                    _ => warpgroups == 2 && problem.n > plan.rows(),
                };
                (fits && plan.shared_bytes(types) <= SHARED).then_some(plan)
            })
            .collect()
    }

    /// Whether every cube of a cluster gets some of `steps` column tiles.
    pub const fn divides(&self, steps: usize) -> bool {
        every_part_has_some(self.splits, steps)
    }

    /// Estimate of the product's cycles.
    pub(crate) fn cycles(
        &self,
        problem: &MatmulProblem,
        types: MmaType,
        cuda: &CudaFacts,
    ) -> usize {
        let cluster = self.splits * self.multicast;
        let at_once = (cuda.multiprocessors as usize / cluster).max(1);
        let waves = self.output_tiles(problem).div_ceil(at_once);
        let products = self.rows() * self.tokens * TILE_COLS * types.size() / INT8_RATE;
        let steps = problem.k.div_ceil(TILE_COLS).div_ceil(self.splits);
        let step = match self.multicast {
            1 => {
                let copies = self.stage_bytes(types) / L2_RATE;
                let [step, warpgroup] = STEP;
                products.max(copies).max(step + warpgroup * self.warpgroups)
            }
            _ => {
                let bytes = self.x_bytes(types) / self.multicast + self.w_bytes();
                let [meeting, decoding] = SHARED_STEP;
                let least = decoding * self.tiles * types.size();
                products.max(bytes / MULTICAST_RATE).max(least) + meeting
            }
        };
        let [meeting, register] = EXCHANGE;
        let exchange = match self.splits {
            1 => 0,
            _ => meeting + register * self.accumulators(),
        };
        let opening = match self.multicast {
            1 => 0,
            _ => OPENING,
        };
        opening + waves * (steps * step + TILE + exchange)
    }

    /// Weight rows of a cube.
    pub const fn rows(&self) -> usize {
        self.warpgroups * self.tiles * TILE_ROWS
    }

    /// Output tiles, each of a cluster.
    pub(super) fn output_tiles(&self, problem: &MatmulProblem) -> usize {
        let rows = self.rows() * self.multicast;
        problem.n.div_ceil(rows) * problem.m.div_ceil(self.tokens)
    }

    /// Units of a cube that multiply.
    pub const fn units(&self) -> usize {
        self.warpgroups * 128
    }

    /// Units of a cube. Where activations are shared, this includes the producer warpgroup.
    pub const fn cube_units(&self) -> usize {
        match self.multicast {
            1 => self.units(),
            _ => self.units() + 128,
        }
    }

    /// Accumulator registers of a unit.
    pub const fn accumulators(&self) -> usize {
        self.tiles * self.tokens / 2
    }

    /// Number of 32-column slices issued per wait. With few tokens a wgmma is short and registers
    /// are free, so two are issued together.
    pub(crate) const fn slices(&self) -> usize {
        match self.accumulators() <= 32 {
            true => 2,
            false => 1,
        }
    }

    /// Bytes of activations of a stage.
    pub(super) const fn x_bytes(&self, types: MmaType) -> usize {
        self.tokens * TILE_COLS * types.size()
    }

    /// Bytes of packed weights of a stage.
    const fn w_bytes(&self) -> usize {
        self.rows() * TILE_COLS / 4
    }

    /// Bytes of a stage: activations, then packed weights.
    pub const fn stage_bytes(&self, types: MmaType) -> usize {
        self.x_bytes(types) + self.w_bytes()
    }

    /// The ring of a cube that shares activations.
    pub(super) const fn ring(&self, types: MmaType) -> RingShape {
        RingShape {
            stages: self.stages,
            pitch: self.stage_bytes(types),
            bytes: self.stage_bytes(types),
            warps: self.warpgroups * 4,
            cubes: self.multicast,
        }
    }

    /// Elements of 128 bytes of a token: int8 ones are bound as words of four.
    pub(super) const fn box_columns(&self, types: MmaType) -> usize {
        match types {
            MmaType::Int8 => 32,
            MmaType::Bf16 | MmaType::F16 => 64,
        }
    }

    /// Bytes of the ring of stages.
    pub(super) const fn ring_bytes(&self, types: MmaType) -> usize {
        self.stages * self.stage_bytes(types)
    }

    /// Groups of 8 tokens, counted over the 64-row tiles, whose outputs a cube of a cluster adds up and
    /// stores.
    pub(super) const fn sum_groups(&self) -> usize {
        (self.tiles * self.tokens / 8).div_ceil(self.splits)
    }

    /// Bytes of the partial sums that a cube receives from its cluster.
    const fn sum_bytes(&self) -> usize {
        match self.splits {
            1 => 0,
            splits => 16 * self.units() * self.sum_groups() * splits,
        }
    }

    /// Bytes of shared memory: the ring and the sums, with room to align the first stage.
    pub const fn shared_bytes(&self, types: MmaType) -> usize {
        1024 + self.ring(types).shared_bytes() + self.sum_bytes()
    }

    /// Whether `device` is a Hopper GPU with multiprocessors for a cluster that shares activations.
    pub(crate) fn runs_on(&self, device: &DeviceFacts) -> bool {
        device.cuda.is_some_and(|cuda| {
            cuda.capability == 90 && cuda.multiprocessors as usize >= self.multicast
        })
    }

    /// Persistent cubes for `tiles` output tiles without splits: as many as `device` has multiprocessors,
    /// in whole clusters.
    pub(crate) fn cubes(&self, tiles: usize, device: &DeviceFacts) -> usize {
        tiles.min(self.clusters(device)) * self.multicast
    }

    /// Clusters of cubes that share copies, as many as run at once on `device`.
    pub(crate) fn clusters(&self, device: &DeviceFacts) -> usize {
        let cores = device.cuda.map_or(1, |cuda| cuda.multiprocessors as usize);
        cores / self.multicast
    }

    /// Checks that `device` can run the plan.
    ///
    /// # Errors
    /// [`KernelError::Plan`] for sizes that the instruction does not have, more registers or shared
    /// memory than a cube gets, or a device that is no Hopper GPU.
    pub fn validate(&self, types: MmaType, device: &DeviceFacts) -> Result<(), KernelError> {
        let hopper = self.runs_on(device);
        // The tokens that one cube copies for its cluster are whole swizzled blocks of 8.
        let shared_tokens = self.tokens >= 8 * self.multicast;
        let sizes = matches!(self.warpgroups, 1..=4)
            && matches!(self.tiles, 1 | 2)
            && matches!(self.tokens, 16 | 32 | 64 | 128 | 256)
            && matches!(self.splits, 1 | 2 | 4 | 8)
            && matches!(self.multicast, 1 | 2)
            && (self.multicast == 1 || self.splits == 1 && self.warpgroups == 2 && shared_tokens)
            && self.group >= 1
            && self.stages >= 4;
        // A multiprocessor has 64 Ki registers; a unit needs some 60 beside its accumulators.
        let registers = self.units() * (self.accumulators() + 60) <= 1 << 16;
        let shared = self.shared_bytes(types) <= device.shared_bytes;
        // Every unit copies the same number of 16-byte lines.
        let lines = self.multicast > 1 || (self.tokens * 8).is_multiple_of(self.units());
        if hopper && sizes && registers && self.accumulators() <= 128 && shared && lines {
            return Ok(());
        }
        Err(KernelError::Plan {
            reason: format!(
                "{self:?} wants a GPU of compute capability 9.0 (this is {:?}), 16 to 256 tokens, \
                 at most 128 accumulators a unit, 4 stages or more and at most {} bytes of shared \
                 memory; multicast wants two warpgroups, no splits and 8 tokens for each cube",
                device.cuda.map(|cuda| cuda.capability),
                device.shared_bytes
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::test_gpus::HOPPER;
    use crate::product::problem::problem;

    #[test]
    fn every_candidate_fits_and_gives_each_cube_columns() {
        let sizes = [1, 127, 2560, 3200, 6912, 28_672];
        let cuda = HOPPER.cuda.unwrap();
        // f32 activations never come here.
        for types in [MmaType::Int8, MmaType::Bf16, MmaType::F16] {
            for (n, k) in sizes.iter().flat_map(|&n| sizes.map(|k| (n, k))) {
                for m in sizes {
                    let problem = problem(m, n, k);
                    let best = WgmmaBlueprint::new(&problem, types, &cuda);
                    let candidates = WgmmaBlueprint::candidates(&problem, types, &cuda);
                    assert!(candidates.contains(&best));
                    for plan in candidates {
                        let what = format!("{plan:?} {types:?} {m} x {n} x {k}");
                        assert_eq!(plan.validate(types, &HOPPER), Ok(()), "{what}");
                        assert!(plan.divides(k.div_ceil(TILE_COLS)), "{what}");
                    }
                }
            }
        }
    }

    #[test]
    fn cubes_share_activations_where_tokens_are_many() {
        let cuda = HOPPER.cuda.unwrap();
        for (m, n, k, multicast) in [
            (16, 4096, 4096, 1),
            (512, 4096, 4096, 2),
            (2048, 11_008, 4096, 2),
            (8192, 4096, 4096, 2),
            (8192, 128, 4096, 1),
        ] {
            for types in [MmaType::Int8, MmaType::Bf16] {
                let plan = WgmmaBlueprint::new(&problem(m, n, k), types, &cuda);
                assert_eq!(
                    plan.multicast, multicast,
                    "{plan:?} {types:?} {m} x {n} x {k}"
                );
            }
        }
    }
}
