//! Device code: where the positions of rows lie in a cache of blocks.

use cubecl::prelude::*;

/// The block of `position` of `row`, as the table has it.
#[cube]
pub(super) fn block_of(
    table: &[u32],
    row: usize,
    position: usize,
    positions: usize,
    #[comptime] block: usize,
) -> usize {
    usize::cast_from(table[row * (positions / block) + position / block])
}

/// Where a head of `position` of `row` lies, in positions, of which a row has `positions`. A block that the cache lacks counts as its last one.
#[cube]
#[allow(clippy::too_many_arguments, reason = "a place and the shape around it")]
pub(super) fn place(
    table: &[u32],
    row: usize,
    head: usize,
    position: usize,
    positions: usize,
    kv_heads: usize,
    blocks: usize,
    #[comptime] block: usize,
) -> usize {
    let found = block_of(table, row, position, positions, block);
    (min(found, blocks - 1) * kv_heads + head) * block + position % block
}
