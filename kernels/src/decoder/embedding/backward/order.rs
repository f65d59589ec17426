//! Device code: sorts tokens by id, stably.

use cubecl::prelude::*;

/// Tokens of a block, which is sorted by comparing all of its tokens with each other.
pub(super) const BLOCK: usize = 1024;

/// Sorts each block of [`BLOCK`] tokens. One unit per token counts the tokens that come before it.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn order_blocks<W: Size>(
    ids: &[Vector<u32, W>],
    own_ids: &[u32],
    block_ids: &mut [u32],
    block_tokens: &mut [u32],
    tokens: usize,
) {
    let token = ABSOLUTE_POS;
    if token < tokens {
        let width = W::value();
        let first = token / comptime!(BLOCK) * comptime!(BLOCK);
        let end = min(first + comptime!(BLOCK), tokens) / width;
        let id = own_ids[token];
        let mut rank = 0u32;
        let mut line = first / width;
        while line < end {
            let others = ids[line];
            #[unroll]
            for j in 0..width {
                let other = others.extract(j);
                let earlier = line * width + j < token;
                rank += u32::cast_from(other < id || (other == id && earlier));
            }
            line += 1;
        }
        let at = first + usize::cast_from(rank);
        block_ids[at] = id;
        block_tokens[at] = u32::cast_from(token);
    }
}

/// Merges the sorted blocks. One unit per token finds its rank in every other block.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn merge_blocks(
    block_ids: &[u32],
    block_tokens: &[u32],
    sorted_ids: &mut [u32],
    order: &mut [u32],
    tokens: usize,
) {
    let at = ABSOLUTE_POS;
    if at < tokens {
        let id = block_ids[at];
        let own = at / comptime!(BLOCK) * comptime!(BLOCK);
        let mut rank = at - own;
        let mut first = 0usize.runtime();
        while first < tokens {
            if first != own {
                let end = min(first + comptime!(BLOCK), tokens);
                rank += place(block_ids, id, first, end, first < own) - first;
            }
            first += comptime!(BLOCK);
        }
        sorted_ids[rank] = id;
        order[rank] = block_tokens[at];
    }
}

/// Where each id begins in the sorted order: `vocabulary + 1` starts.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn find_starts(
    sorted_ids: &[u32],
    starts: &mut [u32],
    tokens: usize,
    vocabulary: usize,
) {
    if ABSOLUTE_POS <= vocabulary {
        let id = u32::cast_from(ABSOLUTE_POS);
        let start = place(sorted_ids, id, 0usize.runtime(), tokens, false);
        starts[ABSOLUTE_POS] = u32::cast_from(start);
    }
}

/// Binary search in the sorted `ids[first..end]`: the first index whose id is at least `id`, or above
/// `id` if equal ids count as `before`.
#[cube]
fn place(ids: &[u32], id: u32, first: usize, end: usize, before: bool) -> usize {
    let mut low = first;
    let mut high = end;
    while low < high {
        let middle = (low + high) / 2;
        let other = ids[middle];
        if other < id || (before && other == id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
