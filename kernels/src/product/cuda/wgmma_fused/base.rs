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

/// Cycles of the quantiser as a launch of its own, beside the product.
pub(crate) const QUANTISER: usize = 2_600;

// Fitted to 308 timed plans of eight shapes on an H100, in cycles of 1.75 GHz less the 2,100 of an
// empty launch: the choice was the fastest of 40 at seven of them, and 2 % slower at the eighth.
// Most of such a call is chains of latencies in single units, and instructions of many: so many
// units with few tokens each win.

/// Multiply-adds of one cycle and multiprocessor.
const RATE: usize = 4096;
/// Bytes of activations per cycle that a multiprocessor reads while all do.
const X_RATE: usize = 25;
/// Bytes of weights per cycle: more, as several multiprocessors read the same ones from L2.
const W_RATE: usize = 38;
/// Cycles of a unit for each value that it quantises.
const QUANTISE: usize = 9;
/// Codes that a multiprocessor sends to others of its cluster in a cycle.
const CLUSTER_RATE: usize = 10;
/// Constant cycles: the first instructions, and the latency of the first activations.
const START: usize = 750;
/// Minimum cycles of a step: a constant, plus decoding, per warpgroup and per tile.
const STEP: usize = 65;
const STEP_WARPGROUP: usize = 15;
const STEP_TILE: usize = 21;
/// Cycles of a cluster barrier, for each cube of the cluster: per arriving warpgroup, and per cube.
const MEETING_WARPGROUP: usize = 11;
const MEETING_CUBE: usize = 27;
/// Cycles of a unit per accumulator register: to exchange it, and to make an output of it.
const EXCHANGE: usize = 95;
const OUTPUT: usize = 15;
/// Shared memory of a multiprocessor, 1 KiB of which every cube takes for itself.
const SHARED: usize = 228 << 10;
/// Registers of a multiprocessor, and those of a unit beside its accumulators.
const REGISTERS: [usize; 2] = [1 << 16, 60];

impl FusedBlueprint {
    /// Most column tiles of weights that are there at once.
    const MAX_STAGES: usize = 16;
    /// Most lines of 16 bytes of activations that a unit holds in registers.
    const MAX_HELD: usize = 8;
    /// Most accumulators that a cluster exchanges: with 64, plans took 25 % more than the best, or
    /// worse.
    const MAX_HANDED: usize = 32;

    /// `(warpgroups, tiles, tokens)` worth trying: the others took 19 % more than the best, or
    /// worse.
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

    /// Plans that `problem` can run with, the fastest of the model first.
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

    /// Plans that `problem` can run with: none without activations to be quantised whose rows start
    /// at multiples of 16 bytes, or where rows are too long for shared memory.
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

    /// Adds this shape of a cube to `all` with as many weights resident as let one fit a
    /// multiprocessor, and as let two, as far as `problem` can run with them.
    fn with_rings(mut self, problem: &MatmulProblem, dtype: FloatType, all: &mut Vec<Self>) {
        let steps = problem.k.div_ceil(TILE_COLS);
        self.columns = self.columns_of(steps);
        let handed = self.splits == 1 || self.accumulators() <= Self::MAX_HANDED;
        // Tiles that would be empty by half are for smaller ones.
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

    /// Column tiles that each cube needs room for where a row has `steps`.
    pub const fn columns_of(&self, steps: usize) -> usize {
        steps.div_ceil(self.splits).next_multiple_of(4)
    }

    /// Whether every column of every cube's room is one of `k`: then nothing is checked for it.
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
            cubes => cubes * (MEETING_WARPGROUP * self.warpgroups + MEETING_CUBE * cubes),
        };
        let alone = START + copies.max(x_copies + codes) + products + exchange + output + meetings;
        // What a second cube of the same multiprocessor adds: the rest is waiting.
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

    /// Whether no stage of the ring is used twice.
    pub(super) const fn whole(&self) -> bool {
        self.stages >= self.columns
    }

    /// Tokens that a cube quantises.
    pub(super) const fn own_tokens(&self) -> usize {
        self.tokens / self.shares
    }

    /// Warps that share a token.
    pub(super) const fn parts(&self) -> usize {
        let warps = self.units() / 32;
        match warps > self.own_tokens() {
            true => warps / self.own_tokens(),
            false => 1,
        }
    }

    /// Tokens that a cube has at work at once.
    pub(super) const fn teams(&self) -> usize {
        self.units() / 32 / self.parts()
    }

    /// Tokens of a warp, one after the other: all sizes are powers of two.
    pub(super) const fn rounds(&self) -> usize {
        self.own_tokens() / self.teams()
    }

    /// Chunks of 512 columns in the part of a token that a cube has.
    pub(super) const fn chunks(&self) -> usize {
        self.columns / 4
    }

    /// Chunks of a warp, one after the other; where they do not divide, some warps have one less.
    pub(super) const fn chunk_rounds(&self) -> usize {
        self.chunks().div_ceil(self.parts())
    }

    /// Whether activations wait in registers between the search for the largest and the rounding:
    /// whole lines, few of them.
    pub(super) const fn in_registers(&self, dtype: FloatType, exact: bool) -> bool {
        exact && self.rounds() * self.chunk_rounds() * dtype.size() <= Self::MAX_HELD
    }

    /// Whether the warp that finds the largest of a token is the only one that needs it.
    pub(super) const fn keeps_maxima(&self, in_registers: bool) -> bool {
        in_registers && self.slots() == 1
    }

    /// Maxima of a token, one a warp of the cluster that reads it.
    pub(super) const fn slots(&self) -> usize {
        self.splits * self.parts()
    }

    /// Shares of 8 tokens of a 64-row tile that a cube sums up.
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

    /// Bytes of a token where activations wait to be quantised.
    pub(super) const fn pitch(&self, dtype: FloatType) -> usize {
        self.columns * TILE_COLS * dtype.size()
    }

    /// Where weights begin, behind the int8 activations.
    pub(super) const fn ring_at(&self) -> usize {
        self.columns * self.x_bytes()
    }

    /// Where activations wait to be quantised, and sums arrive later.
    pub(super) const fn staging_at(&self) -> usize {
        self.ring_at() + self.stages * self.stage_bytes()
    }

    /// Where maxima are.
    pub(super) const fn maxima_at(&self, dtype: FloatType) -> usize {
        let staging = self.own_tokens() * self.pitch(dtype);
        let sums = match self.splits {
            1 => 0,
            splits => 16 * self.units() * self.sum_groups() * splits,
        };
        self.staging_at() + if staging > sums { staging } else { sums }
    }

    /// Where the scales of tokens are.
    pub(super) const fn scales_at(&self, dtype: FloatType) -> usize {
        self.maxima_at(dtype) + 4 * self.own_tokens() * self.slots()
    }

    /// Where barriers are, three of 8 bytes.
    pub(super) const fn barriers_at(&self, dtype: FloatType) -> usize {
        self.scales_at(dtype) + 4 * self.tokens
    }

    /// Bytes of shared memory, with room to align the first.
    pub const fn shared_bytes(&self, dtype: FloatType) -> usize {
        1024 + self.barriers_at(dtype) + 24
    }

    /// Whether the instructions have these sizes, and a multiprocessor the registers.
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

    /// # Errors
    /// [`KernelError::Plan`] for sizes that the instructions do not have, clusters of more than 8
    /// cubes, rows of `steps` column tiles that do not fit `columns` or leave a cube without any,
    /// more registers or shared memory than a cube gets, or a device that is no Hopper GPU.
    pub fn validate(
        &self,
        steps: usize,
        dtype: FloatType,
        device: &DeviceFacts,
    ) -> Result<(), KernelError> {
        let hopper = device.cuda.is_some_and(|cuda| cuda.capability == 90);
        // Sizes first: the others divide by them.
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
