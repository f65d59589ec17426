//! Device code: where the positions of rows lie in a cache.

use cubecl::prelude::*;

/// A head of a row of a cache.
#[derive(CubeType, Clone, Copy)]
pub(crate) struct HeadPlace {
    /// Row of the cache.
    pub row: usize,
    /// Head of keys and values.
    pub head: usize,
    /// Heads of keys and values.
    pub heads: usize,
    /// Positions of a row.
    pub positions: usize,
    /// Where the head begins if rows are contiguous, in positions.
    pub base: usize,
    /// Blocks of the cache.
    pub blocks: usize,
}

/// A head of `row`; the sizes are those of the cache.
#[cube]
pub(super) fn head_place(
    row: usize,
    head: usize,
    heads: usize,
    positions: usize,
    blocks: usize,
) -> HeadPlace {
    HeadPlace {
        row,
        head,
        heads,
        positions,
        base: (row * heads + head) * positions,
        blocks,
    }
}

/// Where `position` of a head lies, in positions: `block` of them are a block of the cache, or rows are
/// contiguous. A block that the cache lacks counts as its last one.
#[cube]
pub(super) fn place(
    of: &HeadPlace,
    table: &[u32],
    position: usize,
    #[comptime] block: Option<usize>,
) -> usize {
    if comptime!(block.is_some()) {
        let size = comptime!(block.unwrap());
        let found = min(
            block_of(table, of.row, position, of.positions, size),
            of.blocks - 1,
        );
        (found * of.heads + of.head) * size + position % size
    } else {
        of.base + position
    }
}

/// The block of `position` of `row`, as the table has it.
#[cube]
pub(super) fn block_of(
    table: &[u32],
    row: usize,
    position: usize,
    positions: usize,
    #[comptime] size: usize,
) -> usize {
    usize::cast_from(table[row * (positions / size) + position / size])
}
