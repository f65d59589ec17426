//! How a cache lies in memory.

use super::heads::Heads;

/// Shape of a cache: what operations know of it besides its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CacheLayout {
    /// Shape of the attention.
    pub heads: Heads,
    /// Positions of a row.
    pub capacity: usize,
    /// Positions of a block, where rows are made of blocks.
    pub block: Option<usize>,
}

impl CacheLayout {
    /// Blocks of a row: one where rows are contiguous.
    pub fn blocks_per_row(&self) -> usize {
        self.capacity.div_ceil(self.stored())
    }

    /// Positions that follow each other in memory.
    pub(super) fn stored(&self) -> usize {
        self.block.unwrap_or(self.capacity)
    }
}
