//! Plan and scratch of the attention.

use cubecl::prelude::*;

use crate::device::{DeviceFacts, LANES};
use crate::operand::Buffer;
use crate::operand::KvCache;

/// Device memory in which the cubes that divide the positions of a head leave their partial results for
/// the last of them. Allocated once per device and reused by launches, which must not overlap.
#[derive(Clone, Debug)]
pub struct AttentionScratch {
    pub(super) sums: Buffer,
    pub(super) counters: Buffer,
    /// Cubes that have room for a partial result.
    pub(super) slots: usize,
}

impl AttentionScratch {
    /// Allocates scratch for `client`'s device.
    pub fn new(client: &Client) -> Self {
        let hardware = &client.properties().hardware;
        // Two cubes fit a multiprocessor.
        let slots = 2 * hardware.num_streaming_multiprocessors.unwrap_or(32) as usize;
        Self::with_slots(client, slots)
    }

    /// Allocates scratch of `slots` slots, each for a cube of the most and widest heads: what
    /// [`slots`](super::slots) counts for a cache of blocks.
    pub fn with_slots(client: &Client, slots: usize) -> Self {
        let words = slots * DecodePlan::slot_words(DecodePlan::MAX_GROUP, KvCache::MAX_DIM);
        let counters = client.create_from_slice(u32::as_bytes(&vec![0u32; slots]));
        Self {
            sums: Buffer::new(client.empty(words * 4), words),
            counters: Buffer::new(counters, slots),
            slots,
        }
    }

    /// Slots that cubes leave their sums in.
    pub fn slots(&self) -> usize {
        self.slots
    }
}

/// The plan of the attention on planes of 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DecodePlan {
    /// Dimension of a head.
    pub dim: usize,
    /// Query heads of a cube, which share the keys and values that it reads.
    pub group: usize,
    /// Units of a cube.
    pub units: usize,
    /// Elements of a line.
    pub width: usize,
    /// Prefetch depth: positions whose loads a unit has in flight.
    pub ahead: usize,
    /// Whether several cubes divide the positions of a head.
    pub split: bool,
    /// Fewest positions for which a cube is worth its arrival.
    pub share: usize,
    /// Positions of a block, where rows are made of such.
    pub block: Option<usize>,
}

impl DecodePlan {
    /// Most query heads of a cube.
    pub const MAX_GROUP: usize = 8;
    /// Most cubes that divide the positions of a head.
    pub const MAX_SPLITS: usize = 64;
    /// The same where rows are made of blocks.
    pub const MAX_BLOCK_SPLITS: usize = 16;
    /// [`share`](Self::share) where rows are contiguous.
    const POSITIONS: usize = 64;
    /// [`share`](Self::share) where rows are made of blocks: the only thing that decides how many cubes
    /// share the positions of a head, and so the order of its sums.
    pub const BLOCK_POSITIONS: usize = 256;

    /// [`ahead`](Self::ahead) for `group` query heads.
    pub const fn ahead(group: usize) -> usize {
        if group > 4 { 2 } else { 4 }
    }

    /// Floats of a cube's partial result: weighted sums, largest scores, sums of weights.
    pub const fn slot_words(group: usize, dim: usize) -> usize {
        group * (dim + 2)
    }

    /// Slots of scratch for `cubes` cubes of heads, each of them shared by `splits`: their sums are packed,
    /// and each has a counter.
    pub fn slots(self, cubes: usize, splits: usize) -> usize {
        let words = cubes * splits * Self::slot_words(self.group, self.dim);
        let largest = Self::slot_words(Self::MAX_GROUP, KvCache::MAX_DIM);
        words.div_ceil(largest).max(cubes)
    }

    /// A plan for `heads` query heads over `cache`, and the number of splits.
    pub fn new(
        tokens: usize,
        heads: usize,
        cache: &KvCache,
        slots: Option<usize>,
        device: &DeviceFacts,
    ) -> (Self, usize) {
        if cache.block().is_some() {
            return Self::of_length(heads, cache, slots.is_some(), device);
        }
        let slots = slots.unwrap_or(1);
        // With few tokens multiprocessors are idle. One cube per query head then has a shorter chain of
        // work, and the keys and values that several cubes read come from the cache.
        let few = tokens * cache.heads() <= slots / 16;
        let group = if few { 1 } else { heads / cache.heads() };
        let group = group.min(Self::largest_group(cache));
        let tiles = (heads / cache.heads()).div_ceil(group);
        let cubes = tokens * cache.heads() * tiles;
        let most = cache.positions().div_ceil(Self::POSITIONS);
        let splits = (slots / cubes).clamp(1, Self::MAX_SPLITS.min(most));
        let plan = Self::of(group, splits, Self::POSITIONS, cache, device);
        (plan, splits)
    }

    /// As [`new`](Self::new), by what is true of a token alone, whoever shares the launch: results do not
    /// depend on the others.
    fn of_length(
        heads: usize,
        cache: &KvCache,
        shared: bool,
        device: &DeviceFacts,
    ) -> (Self, usize) {
        let group = (heads / cache.heads()).min(Self::largest_group(cache));
        let share = Self::BLOCK_POSITIONS;
        let splits = match shared {
            true => cache.positions().div_ceil(share),
            false => 1,
        };
        let splits = splits.min(Self::MAX_BLOCK_SPLITS);
        let plan = Self::of(group, splits, share, cache, device);
        (plan, splits)
    }

    fn of(
        group: usize,
        splits: usize,
        share: usize,
        cache: &KvCache,
        device: &DeviceFacts,
    ) -> Self {
        Self {
            dim: cache.dim(),
            group,
            units: device.cube_units.clamp(LANES, 256) as usize,
            width: cache.width(),
            ahead: Self::ahead(group),
            split: splits > 1,
            share,
            block: cache.block(),
        }
    }

    /// Most query heads of a cube: what planes leave in shared memory is bounded, and wide heads leave
    /// more.
    fn largest_group(cache: &KvCache) -> usize {
        Self::MAX_GROUP * 128 / cache.dim().max(128)
    }

    /// Whether a plane holds a whole number of positions of `cache`.
    pub fn takes(cache: &KvCache) -> bool {
        let lanes = cache.dim() / cache.width();
        let whole = cache.dim().is_multiple_of(cache.width());
        whole && lanes.is_power_of_two() && lanes <= LANES as usize
    }

    /// Units per position.
    pub const fn lanes(self) -> usize {
        self.dim / self.width
    }

    /// Planes of a cube.
    pub const fn planes(self) -> usize {
        self.units / LANES as usize
    }

    /// Positions that a cube processes at once.
    pub const fn positions(self) -> usize {
        self.units / self.lanes()
    }

    /// Floats of shared memory: weighted sums, largest scores and sums of weights of every plane. The
    /// last cube holds the largest scores and sums of weights of every split there.
    pub fn shared_words(self) -> usize {
        let stats = 2 * self.group * self.planes().max(Self::MAX_SPLITS * self.split as usize);
        self.planes() * self.group * self.dim + stats
    }
}
