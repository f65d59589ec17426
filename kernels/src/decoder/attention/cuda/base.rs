//! Plan of the attention on tensor cores.

use crate::device::DeviceFacts;
use crate::device_code::MmaType;
use crate::operand::FloatType;
use crate::operand::KvCache;

/// Positions of a tile.
pub const TILE: usize = 64;

/// Stages of the ring in shared memory; a stage is a tile of keys and a tile of values.
pub const STAGES: usize = 2;

/// The plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::decoder::attention) struct PrefillPlan {
    /// Dimension of a head.
    pub dim: usize,
    /// Warps of a cube, each with 16 tokens.
    pub warps: usize,
    /// Type of the multiplied elements.
    pub types: MmaType,
    /// Positions of a block, where rows are made of such.
    pub block: Option<usize>,
}

impl PrefillPlan {
    /// A plan for `tokens` tokens. `None` if `device` lacks the instructions or the tokens are too few
    /// to fill tiles.
    pub fn new(tokens: usize, cache: &KvCache, device: &DeviceFacts) -> Option<Self> {
        let cuda = device.cuda?;
        let plan = Self {
            dim: cache.dim(),
            warps: 4,
            types: MmaType::of(cache.dtype()),
            block: cache.block(),
        };
        let half = cache.dtype() != FloatType::F32;
        let fits = plan.shared_words() * 4 <= device.shared_bytes;
        let dim = matches!(plan.dim, 32 | 64 | 128);
        (cuda.capability >= 80 && half && fits && dim && tokens >= 16).then_some(plan)
    }

    /// Tokens of a cube.
    pub const fn tokens(self) -> usize {
        16 * self.warps
    }

    /// Units of a cube.
    pub const fn units(self) -> usize {
        32 * self.warps
    }

    /// Bytes of a row of a tile.
    pub const fn row_bytes(self) -> usize {
        2 * self.dim
    }

    /// Bytes of a tile of keys, or of values.
    pub const fn tile_bytes(self) -> usize {
        TILE * self.row_bytes()
    }

    /// u32 of shared memory.
    pub const fn shared_words(self) -> usize {
        2 * STAGES * self.tile_bytes() / 4
    }
}
