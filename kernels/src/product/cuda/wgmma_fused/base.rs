//! Plan of the product that quantises its activations.

use crate::device::{CudaFacts, DeviceFacts};
use crate::error::KernelError;
use crate::operand::FloatType;
use crate::prepack::{TILE_COLS, TILE_ROWS};
use crate::product::cuda::wgmma::WgmmaBlueprint;
use crate::product::cuda::wgmma::every_part_has_some;
use crate::product::{ActivationType, MatmulProblem};

/// The resolved plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FusedBlueprint {
    /// Warpgroups of a cube, side by side along the weight rows: 1, 2 or 4.
    pub warpgroups: usize,
    /// 64-row tiles of a warpgroup: 1 or 2.
    pub tiles: usize,
    /// Tokens of a cube: 16, 32, 64 or 128.
    pub tokens: usize,
    /// Column tiles that a cube has room for, a multiple of 4.
    pub columns: usize,
    /// Column tiles of weights in the ring. With at least `columns`, all weights are resident and
    /// no stage is reused.
    pub stages: usize,
    /// Cubes of a cluster that divide the columns of an output tile: 1, 2, 4 or 8.
    pub splits: usize,
    /// Cubes of a cluster that work on the same tokens, each with weight rows of its own: 1, 2, 4
    /// or 8.
    pub shares: usize,
}

/// Cycles that a separate quantiser launch adds to those of the product.
pub(crate) const QUANTISER: usize = 2_600;

// The constants are fitted to 308 timed plans of eight shapes on an H100, in cycles of 1.75 GHz, without
// the 2,100 of an empty launch. The model's choice was the fastest of 40 plans at seven shapes, and 2 %
// slower at the eighth. Latency chains and instruction issue dominate such calls, so that plans of many
// units with few tokens each win.

/// Multiply-adds of one cycle and multiprocessor.
const RATE: usize = 4096;
/// Bytes of activations per cycle that a multiprocessor reads while all do.
const X_RATE: usize = 25;
/// Bytes of weights per cycle. The rate is higher, because several multiprocessors read the same weights
/// from L2.
const W_RATE: usize = 38;
/// Cycles of a unit for each value that it quantises.
const QUANTISE: usize = 9;
/// Codes that a multiprocessor sends to others of its cluster per cycle.
const CLUSTER_RATE: usize = 10;
/// Constant cycles: the first instructions, and the latency of the first activations.
const START: usize = 750;
/// Minimum cycles of a step: a constant, plus decoding, per warpgroup and per tile.
const STEP: usize = 65;
const STEP_WARPGROUP: usize = 15;
const STEP_TILE: usize = 21;
/// Cycles of a cluster barrier, for each cube of the cluster: per arriving warpgroup, and per cube.
const BARRIER_WARPGROUP: usize = 11;
const BARRIER_CUBE: usize = 27;
/// Cycles of a unit per accumulator register: to exchange it, and to store it as an output.
const EXCHANGE: usize = 95;
const OUTPUT: usize = 15;
/// Shared memory of a multiprocessor. Every resident cube reserves 1 KiB of it for the system.
const SHARED: usize = 228 << 10;
/// Registers of a multiprocessor, and registers of a unit beside its accumulators.
const REGISTERS: [usize; 2] = [1 << 16, 60];

impl FusedBlueprint {
    /// Deepest ring of weights.
    const MAX_STAGES: usize = 16;
    /// Most lines of 16 bytes of activations that a unit holds in registers.
    const MAX_HELD: usize = 8;
    /// Most accumulator registers of a unit if a cluster exchanges sums: plans with 64 took at least 25 %
    /// longer than the best.
    const MAX_HANDED: usize = 32;

    /// Candidates of `(warpgroups, tiles, tokens)`: all others took at least 19 % longer than the best.
    const SHAPES: [(usize, usize, usize); 11] = [
        (1, 1, 16),
        (1, 2, 16),
        (2, 1, 16),
        (2, 2, 16),
        (4, 1, 16),
        (4, 2, 16),
        (2, 1, 32),
        (2, 2, 32),
        (4, 1, 32),
        (4, 2, 32),
        (4, 1, 64),
    ];

    /// The plan that a simple model of the device predicts to be fastest, if any can run `problem`.
    pub fn new(problem: &MatmulProblem, cuda: &CudaFacts) -> Option<Self> {
        Self::ranked(problem, cuda).into_iter().next()
    }

    /// The plans that can run `problem`, the predicted fastest first.
    pub fn ranked(problem: &MatmulProblem, cuda: &CudaFacts) -> Vec<Self> {
        let mut all = Self::candidates(problem, cuda);
        all.sort_by_cached_key(|plan| {
            // Tie-break: more bytes of weights in flight. Exception, for weights read once from
            // cold memory: more than 64 KB per cube delay the activations (measured at
            // 16×11008×4096: 8.4 against 7.5 µs).
            let flood = problem.m <= plan.tokens && plan.stages * plan.stage_bytes() > 64 << 10;
            (
                plan.cycles(problem, cuda),
                flood,
                Self::MAX_STAGES - plan.stages,
            )
        });
        all
    }

    /// The plans that can run `problem`. None unless its activations are floats to be quantised, in rows
    /// that start at multiples of 16 bytes and fit shared memory.
    pub fn candidates(problem: &MatmulProblem, cuda: &CudaFacts) -> Vec<Self> {
        let ActivationType::Quantized(dtype) = problem.activations else {
            return Vec::new();
        };
        if cuda.capability != 90 || !problem.whole_lines {
            return Vec::new();
        }
        let mut all = Vec::new();
        for (warpgroups, tiles, tokens) in Self::SHAPES {
            for splits in [1, 2, 4, 8] {
                for shares in [1, 2, 4, 8] {
                    let shape = Self {
                        warpgroups,
                        tiles,
                        tokens,
                        columns: 0,
                        stages: 0,
                        splits,
                        shares,
                    };
                    shape.with_rings(problem, dtype, &mut all);
                }
            }
        }
        all
    }

    /// Adds this shape to `all` twice, as far as `problem` can run with it: with the deepest ring for one
    /// cube a multiprocessor, and with the deepest for two.
    fn with_rings(mut self, problem: &MatmulProblem, dtype: FloatType, all: &mut Vec<Self>) {
        let steps = problem.k.div_ceil(TILE_COLS);
        self.columns = self.columns_of(steps);
        let handed = self.splits == 1 || self.accumulators() <= Self::MAX_HANDED;
        // Where half of a tile's tokens would be empty, a smaller tile is a candidate as well.
        let tokens = self.tokens <= problem.m.next_power_of_two().max(16);
        let rows = problem.n.div_ceil(self.rows()).next_power_of_two();
        if !handed || !tokens || self.shares > rows || !self.divides(steps) {
            return;
        }
        for cubes in [1, 2] {
            self.stages = 0;
            let room = (SHARED / cubes).saturating_sub(1024 + self.shared_bytes(dtype));
            self.stages = (room / self.stage_bytes()).min(self.columns.min(Self::MAX_STAGES));
            if self.check_sizes() && !all.contains(&self) {
                all.push(self);
            }
        }
    }

    /// Column tiles that each cube needs room for if a row has `steps` column tiles.
    pub const fn columns_of(&self, steps: usize) -> usize {
        steps.div_ceil(self.splits).next_multiple_of(4)
    }

    /// Whether the cubes of a cluster have room for exactly `k` columns; columns need no bounds checks
    /// then.
    pub(super) const fn is_exact(&self, k: usize) -> bool {
        self.splits * self.columns * TILE_COLS == k
    }

    /// Whether every cube that shares columns gets some of `steps` column tiles.
    pub const fn divides(&self, steps: usize) -> bool {
        every_part_has_some(self.splits, steps)
    }

    /// Estimate of the product's cycles, comparable to those of [`WgmmaBlueprint`] and
    /// [`QUANTISER`]. None of them includes an empty launch.
    pub(crate) fn cycles(&self, problem: &MatmulProblem, cuda: &CudaFacts) -> usize {
        let ActivationType::Quantized(dtype) = problem.activations else {
            return usize::MAX;
        };
        let steps = problem.k.div_ceil(TILE_COLS).div_ceil(self.splits);
        let values = self.own_tokens() * steps * TILE_COLS;
        let x_copies = values * dtype.size() / X_RATE;
        let copies = x_copies + steps * self.stage_bytes() / W_RATE;
        let codes = QUANTISE * values / self.units() + values * (self.shares - 1) / CLUSTER_RATE;
        let decoding = STEP + self.warpgroups * (STEP_WARPGROUP + self.tiles * STEP_TILE);
        let products = steps * (self.rows() * self.tokens * TILE_COLS / RATE).max(decoding);
        let output = OUTPUT * self.accumulators() / self.splits;
        let exchange = match self.splits {
            1 => 0,
            _ => EXCHANGE * self.accumulators(),
        };
        let meetings = match self.cluster() {
            1 => 0,
            cubes => cubes * (BARRIER_WARPGROUP * self.warpgroups + BARRIER_CUBE * cubes),
        };
        let alone = START + copies.max(x_copies + codes) + products + exchange + output + meetings;
        // Cycles that a second cube on the same multiprocessor adds: the rest of its time is latency, which
        // overlaps.
        let busy = copies.max(products) + codes + output;

        let row_groups = problem.n.div_ceil(self.rows()).div_ceil(self.shares);
        let cubes = row_groups * self.cluster() * problem.m.div_ceil(self.tokens);
        let room = SHARED / (self.shared_bytes(dtype) + 1024);
        let registers = REGISTERS[0] / (self.units() * (self.accumulators() + REGISTERS[1]));
        let room = room.min(registers).max(1);
        // A cluster must lie within a GPC of at most 18 multiprocessors. Timings show that 32
        // clusters of 4, or 16 of 8, do not fit at once on 132 multiprocessors, so that a second
        // wave follows: 11.6 µs where as many cubes in pairs took 7.9 µs.
        let cores = match self.cluster() {
            4.. => cuda.multiprocessors as usize * 9 / 10,
            _ => cuda.multiprocessors as usize,
        };
        let each = cubes.div_ceil(cores.max(1));
        let rounds = each.div_ceil(room);
        rounds * alone + (each - rounds) * busy
    }

    /// Weight rows of a cube.
    pub const fn rows(&self) -> usize {
        self.warpgroups * self.tiles * TILE_ROWS
    }

    /// Units of a cube.
    pub const fn units(&self) -> usize {
        self.warpgroups * 128
    }

    /// Cubes of a cluster.
    pub const fn cluster(&self) -> usize {
        self.splits * self.shares
    }

    /// Accumulator registers of a unit.
    pub const fn accumulators(&self) -> usize {
        self.tiles * self.tokens / 2
    }

    /// Whether the ring holds all weights, so that no stage is reused.
    pub(super) const fn whole(&self) -> bool {
        self.stages >= self.columns
    }

    /// Tokens that a cube quantises.
    pub(super) const fn own_tokens(&self) -> usize {
        self.tokens / self.shares
    }

    /// Warps that divide the columns of a token.
    pub(super) const fn parts(&self) -> usize {
        let warps = self.units() / 32;
        match warps > self.own_tokens() {
            true => warps / self.own_tokens(),
            false => 1,
        }
    }

    /// Tokens that a cube quantises at the same time.
    pub(super) const fn teams(&self) -> usize {
        self.units() / 32 / self.parts()
    }

    /// Tokens that a warp quantises one after the other. The division is exact: all sizes are powers of two.
    pub(super) const fn rounds(&self) -> usize {
        self.own_tokens() / self.teams()
    }

    /// Chunks of 512 columns in a cube's part of a token.
    pub(super) const fn chunks(&self) -> usize {
        self.columns / 4
    }

    /// Chunks that a warp processes one after the other, at most: if they do not divide evenly, some warps
    /// have one less.
    pub(super) const fn chunk_rounds(&self) -> usize {
        self.chunks().div_ceil(self.parts())
    }

    /// Whether activations stay in registers between the search for the maximum and the rounding: for
    /// whole lines, and few of them.
    pub(super) const fn in_registers(&self, dtype: FloatType, exact: bool) -> bool {
        exact && self.rounds() * self.chunk_rounds() * dtype.size() <= Self::MAX_HELD
    }

    /// Whether the warp that finds a token's maximum is the only one that needs it.
    pub(super) const fn keeps_maxima(&self, in_registers: bool) -> bool {
        in_registers && self.slots() == 1
    }

    /// Partial maxima of a token: one per warp of the cluster that reads the token.
    pub(super) const fn slots(&self) -> usize {
        self.splits * self.parts()
    }

    /// Groups of 8 tokens, counted over the 64-row tiles, whose outputs a cube adds up and stores.
    pub(super) const fn sum_groups(&self) -> usize {
        (self.tiles * self.tokens / 8).div_ceil(self.splits)
    }

    /// The plan of the product's loop.
    pub(super) const fn product(&self) -> WgmmaBlueprint {
        WgmmaBlueprint {
            warpgroups: self.warpgroups,
            tiles: self.tiles,
            tokens: self.tokens,
            stages: self.stages,
            splits: self.splits,
            multicast: 1,
            group: 1,
        }
    }

    /// Bytes of a column tile of int8 activations.
    pub(super) const fn x_bytes(&self) -> usize {
        self.tokens * TILE_COLS
    }

    /// Bytes of a column tile of weights.
    pub(super) const fn stage_bytes(&self) -> usize {
        self.rows() * TILE_COLS / 4
    }

    /// Bytes from token to token of the float activations in shared memory.
    pub(super) const fn pitch(&self, dtype: FloatType) -> usize {
        self.columns * TILE_COLS * dtype.size()
    }

    /// Offset of the ring of weights, after the int8 activations.
    pub(super) const fn ring_at(&self) -> usize {
        self.columns * self.x_bytes()
    }

    /// Offset of the float activations, and later of the partial sums that arrive.
    pub(super) const fn staging_at(&self) -> usize {
        self.ring_at() + self.stages * self.stage_bytes()
    }

    /// Offset of the maxima.
    pub(super) const fn maxima_at(&self, dtype: FloatType) -> usize {
        let staging = self.own_tokens() * self.pitch(dtype);
        let sums = match self.splits {
            1 => 0,
            splits => 16 * self.units() * self.sum_groups() * splits,
        };
        self.staging_at() + if staging > sums { staging } else { sums }
    }

    /// Offset of the tokens' scales.
    pub(super) const fn scales_at(&self, dtype: FloatType) -> usize {
        self.maxima_at(dtype) + 4 * self.own_tokens() * self.slots()
    }

    /// Offset of the three barriers, 8 bytes each.
    pub(super) const fn barriers_at(&self, dtype: FloatType) -> usize {
        self.scales_at(dtype) + 4 * self.tokens
    }

    /// Bytes of shared memory, with room to align the start.
    pub const fn shared_bytes(&self, dtype: FloatType) -> usize {
        1024 + self.barriers_at(dtype) + 24
    }

    /// Whether the instructions exist in these sizes, and a multiprocessor has enough registers.
    const fn check_sizes(&self) -> bool {
        let registers = self.units() * (self.accumulators() + REGISTERS[1]) <= REGISTERS[0];
        matches!(self.warpgroups, 1 | 2 | 4)
            && matches!(self.tiles, 1 | 2)
            && matches!(self.tokens, 16 | 32 | 64 | 128)
            && matches!(self.splits, 1 | 2 | 4 | 8)
            && matches!(self.shares, 1 | 2 | 4 | 8)
            && self.cluster() <= 8
            && self.columns >= 4
            && self.columns.is_multiple_of(4)
            && self.stages >= 2
            && self.stages <= Self::MAX_STAGES
            && registers
    }

    /// Checks that `device` can run the plan.
    ///
    /// # Errors
    /// [`KernelError::Plan`] for sizes that the instructions do not have, for clusters of more than 8
    /// cubes, for rows of `steps` column tiles that exceed `columns` or leave a cube without any, for more
    /// registers or shared memory than a cube gets, and on a device that is no Hopper GPU.
    pub fn validate(
        &self,
        steps: usize,
        dtype: FloatType,
        device: &DeviceFacts,
    ) -> Result<(), KernelError> {
        let hopper = device.cuda.is_some_and(|cuda| cuda.capability == 90);
        // The sizes are checked first, because the other checks divide by them.
        let fits = self.check_sizes()
            && self.divides(steps)
            && steps.div_ceil(self.splits) <= self.columns
            && self.shared_bytes(dtype) <= device.shared_bytes;
        if hopper && fits {
            return Ok(());
        }
        Err(KernelError::Plan {
            reason: format!(
                "{self:?} wants a GPU of compute capability 9.0 (this is {:?}), 1, 2 or 4 warpgroups, \
                 16 to 128 tokens, clusters of at most 8 cubes each with some and at most `columns` of \
                 {steps} tiles of 128 columns, 2 to {} stages and at most {} bytes of shared memory",
                device.cuda.map(|cuda| cuda.capability),
                Self::MAX_STAGES,
                device.shared_bytes
            ),
        })
    }
}

#[cfg(test)]
#[path = "base_tests.rs"]
mod tests;
