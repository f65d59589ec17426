//! Device code of a prompt's attention (FlashAttention-2: Dao, <https://arxiv.org/abs/2307.08691>). A
//! cube computes 64 consecutive tokens of one query head. Tiles of 64 positions pass through a ring in
//! shared memory, and scores stay in registers.

use cubecl::prelude::*;

use super::base::{PrefillPlan, STAGES, TILE};
use crate::decoder::paging::{HeadPlace, head_place, place};
use crate::device_code::ptx::{
    copy_async, copy_async_commit, copy_async_wait, exp2, global_address, load_matrices,
    load_matrices_transposed, mma, pack_half, shared_address,
};

/// Runtime sizes; lines of q and out are pairs of elements.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(in crate::decoder::attention) struct PrefillExtents {
    /// Tokens.
    pub tokens: usize,
    /// Query heads.
    pub heads: usize,
    /// Key heads.
    pub kv_heads: usize,
    /// Rows of the cache.
    pub batch: usize,
    /// Positions of a row of the cache.
    pub positions: usize,
    /// Blocks of the cache.
    pub blocks: usize,
    /// Pairs between tokens of q.
    pub q_stride: usize,
    /// Row stride of the output, in pairs of elements.
    pub out_stride: usize,
    /// Factor of the scores times log₂ e, so that the softmax uses `exp2`.
    pub scale: f32,
}

/// Score of a masked position: below every other, and far from overflow.
const LOWEST: f32 = -1e30;

/// Attention of consecutive tokens of row `rows[0]` of the cache, the first at position `positions[0]`.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(in crate::decoder::attention) fn prefill_mma(
    q: &[u32],
    keys: &[u32],
    values: &[u32],
    rows: &[u32],
    positions: &[u32],
    table: &[u32],
    out: &mut [u32],
    extents: PrefillExtents,
    #[comptime] plan: PrefillPlan,
) {
    let dim = comptime!(plan.dim);
    let types = comptime!(plan.types);
    let tiles = (extents.tokens + comptime!(plan.tokens() - 1)) / comptime!(plan.tokens());
    if CUBE_POS >= tiles * extents.heads {
        terminate!();
    }
    // The last tokens attend to the most positions, so their cubes start first.
    let tile = tiles - 1 - CUBE_POS / extents.heads;
    let head = CUBE_POS % extents.heads;
    let key_head = head / (extents.heads / extents.kv_heads);
    let row = min(usize::cast_from(rows[0]), extents.batch - 1);
    let start = usize::cast_from(positions[0]);

    let shared = Shared::<[u32]>::new_aligned_slice(comptime!(plan.shared_words()), 128usize);
    let ring = shared_address::<u32>(&shared);
    let source = TileSource {
        keys: global_address::<u32>(keys),
        values: global_address::<u32>(values),
        of: head_place(
            row,
            key_head,
            extents.kv_heads,
            extents.positions,
            extents.blocks,
        ),
    };

    let unit = UNIT_POS as usize;
    let (warp, lane) = (unit / 32, unit % 32);
    let first = tile * comptime!(plan.tokens());
    let last = min(first + comptime!(plan.tokens()), extents.tokens) - 1;
    // A position past the end of the cache counts as its last one.
    let len = min(start + last, extents.positions - 1) + 1;
    let steps = (len + comptime!(TILE - 1)) / comptime!(TILE);

    copy_tile(ring, &source, table, 0usize.runtime(), len, plan);
    copy_async_commit();

    // This lane holds rows lane / 4 and lane / 4 + 8 of the warp's 16 tokens.
    let token0 = first + warp * 16 + lane / 4;
    let token1 = token0 + 8;
    let mut queries = Array::<u32>::new(comptime!(dim / 4));
    let q0 = min(token0, extents.tokens - 1) * extents.q_stride + head * comptime!(dim / 2);
    let q1 = min(token1, extents.tokens - 1) * extents.q_stride + head * comptime!(dim / 2);
    #[unroll]
    for i in 0..comptime!(dim / 16) {
        let at = comptime!(8 * i) + lane % 4;
        queries[comptime!(4 * i)] = q[q0 + at];
        queries[comptime!(4 * i + 1)] = q[q1 + at];
        queries[comptime!(4 * i + 2)] = q[q0 + at + 4];
        queries[comptime!(4 * i + 3)] = q[q1 + at + 4];
    }
    let limit0 = min(start + token0, extents.positions - 1);
    let limit1 = min(start + token1, extents.positions - 1);

    let mut acc = Array::<Vector<f32, Const<4>>>::new(comptime!(dim / 8));
    #[unroll]
    for i in 0..comptime!(dim / 8) {
        acc[i] = Vector::new(0.0f32);
    }
    let mut top0 = comptime!(LOWEST).runtime();
    let mut top1 = comptime!(LOWEST).runtime();
    let mut sum0 = 0.0f32;
    let mut sum1 = 0.0f32;

    let mut step = 0usize.runtime();
    while step < steps {
        let here = ring + u32::cast_from(step % STAGES) * comptime!(2 * plan.tile_bytes() as u32);
        if step + 1 < steps {
            let there = ring
                + u32::cast_from((step + 1) % STAGES) * comptime!(2 * plan.tile_bytes() as u32);
            copy_tile(
                there,
                &source,
                table,
                (step + 1) * comptime!(TILE),
                len,
                plan,
            );
        }
        copy_async_commit();
        copy_async_wait(1usize);
        sync_cube();

        let mut scores = Array::<Vector<f32, Const<4>>>::new(comptime!(TILE / 8));
        #[unroll]
        for n in 0..comptime!(TILE / 8) {
            scores[n] = Vector::new(0.0f32);
        }
        #[unroll]
        for block in 0..comptime!(dim / 32) {
            let line = line_address(lane % 8, comptime!(4 * block) + lane / 8, plan);
            #[unroll]
            for n in 0..comptime!(TILE / 8) {
                let k = load_matrices(here + line + comptime!((8 * n * plan.row_bytes()) as u32));
                #[unroll]
                for depth in 0..2usize {
                    let a = comptime!(8 * block + 4 * depth);
                    scores[n] = mma::<f32>(
                        queries[a],
                        queries[comptime!(a + 1)],
                        queries[comptime!(a + 2)],
                        queries[comptime!(a + 3)],
                        k.extract(comptime!(2 * depth)),
                        k.extract(comptime!(2 * depth + 1)),
                        scores[n],
                        types,
                    );
                }
            }
        }

        // Only the last tiles contain positions that a token of this cube must not see.
        let from = step * comptime!(TILE);
        if from + comptime!(TILE - 1) > start + first {
            #[unroll]
            for n in 0..comptime!(TILE / 8) {
                let position = from + comptime!(8 * n) + 2 * (lane % 4);
                let held = scores[n];
                let mut masked = Vector::<f32, Const<4>>::empty();
                #[unroll]
                for e in 0..4usize {
                    let limit = if comptime!(e < 2) { limit0 } else { limit1 };
                    let seen = position + comptime!(e % 2) <= limit;
                    masked.insert(
                        e,
                        select(seen, held.extract(e), comptime!(LOWEST).runtime()),
                    );
                }
                scores[n] = masked;
            }
        }

        let mut largest0 = top0;
        let mut largest1 = top1;
        #[unroll]
        for n in 0..comptime!(TILE / 8) {
            let held = scores[n];
            largest0 = max(largest0, max(held.extract(0usize), held.extract(1usize)));
            largest1 = max(largest1, max(held.extract(2usize), held.extract(3usize)));
        }
        largest0 = quad_max(largest0);
        largest1 = quad_max(largest1);
        let keep0 = exp2((top0 - largest0) * extents.scale);
        let keep1 = exp2((top1 - largest1) * extents.scale);
        top0 = largest0;
        top1 = largest1;
        let shift0 = largest0 * extents.scale;
        let shift1 = largest1 * extents.scale;
        sum0 *= keep0;
        sum1 *= keep1;
        let mut weights = Array::<u32>::new(comptime!(TILE / 4));
        #[unroll]
        for n in 0..comptime!(TILE / 8) {
            let held = scores[n];
            // A vector, because its elements are values. The result of `gpu_asm!` is a variable, whose
            // address another `gpu_asm!` would take.
            let mut p = Vector::<f32, Const<4>>::empty();
            p.insert(0usize, exp2(held.extract(0usize) * extents.scale - shift0));
            p.insert(1usize, exp2(held.extract(1usize) * extents.scale - shift0));
            p.insert(2usize, exp2(held.extract(2usize) * extents.scale - shift1));
            p.insert(3usize, exp2(held.extract(3usize) * extents.scale - shift1));
            let (p0, p1) = (p.extract(0usize), p.extract(1usize));
            let (p2, p3) = (p.extract(2usize), p.extract(3usize));
            sum0 += p0 + p1;
            sum1 += p2 + p3;
            weights[comptime!(2 * n)] = pack_half(p0, p1, types);
            weights[comptime!(2 * n + 1)] = pack_half(p2, p3, types);
        }
        #[unroll]
        for i in 0..comptime!(dim / 8) {
            let held = acc[i];
            let mut scaled = Vector::<f32, Const<4>>::empty();
            scaled.insert(0usize, held.extract(0usize) * keep0);
            scaled.insert(1usize, held.extract(1usize) * keep0);
            scaled.insert(2usize, held.extract(2usize) * keep1);
            scaled.insert(3usize, held.extract(3usize) * keep1);
            acc[i] = scaled;
        }

        let v_tile = here + comptime!(plan.tile_bytes() as u32);
        #[unroll]
        for pair in 0..comptime!(dim / 16) {
            let position = (lane / 8) % 2 * 8 + lane % 8;
            let line = line_address(position, comptime!(2 * pair) + lane / 16, plan);
            #[unroll]
            for depth in 0..comptime!(TILE / 16) {
                let v = load_matrices_transposed(
                    v_tile + line + comptime!((16 * depth * plan.row_bytes()) as u32),
                );
                #[unroll]
                for n in 0..2usize {
                    let at = comptime!(2 * pair + n);
                    acc[at] = mma::<f32>(
                        weights[comptime!(4 * depth)],
                        weights[comptime!(4 * depth + 1)],
                        weights[comptime!(4 * depth + 2)],
                        weights[comptime!(4 * depth + 3)],
                        v.extract(comptime!(2 * n)),
                        v.extract(comptime!(2 * n + 1)),
                        acc[at],
                        types,
                    );
                }
            }
        }
        // The next copy overwrites the stage that this step has read.
        sync_cube();
        step += 1usize;
    }

    let part0 = 1.0f32 / quad_sum(sum0);
    let part1 = 1.0f32 / quad_sum(sum1);
    let to0 = token0 * extents.out_stride + head * comptime!(dim / 2) + lane % 4;
    let to1 = token1 * extents.out_stride + head * comptime!(dim / 2) + lane % 4;
    #[unroll]
    for i in 0..comptime!(dim / 8) {
        let held = acc[i];
        if token0 < extents.tokens {
            out[to0 + comptime!(4 * i)] = pack_half(
                held.extract(0usize) * part0,
                held.extract(1usize) * part0,
                types,
            );
        }
        if token1 < extents.tokens {
            out[to1 + comptime!(4 * i)] = pack_half(
                held.extract(2usize) * part1,
                held.extract(3usize) * part1,
                types,
            );
        }
    }
}

/// Where tiles come from.
#[derive(CubeType, Clone, Copy)]
struct TileSource {
    /// Address of all keys.
    keys: u64,
    /// Address of all values.
    values: u64,
    /// The head that is read.
    of: HeadPlace,
}

/// Starts the copies of keys and values of `TILE` positions from `from` on; zeros past `len`.
#[cube]
fn copy_tile(
    to: u32,
    source: &TileSource,
    table: &[u32],
    from: usize,
    len: usize,
    #[comptime] plan: PrefillPlan,
) {
    let lines = comptime!(plan.row_bytes() / 16);
    #[unroll]
    for i in 0..comptime!(TILE * lines / plan.units()) {
        let item = UNIT_POS as usize + comptime!(i * plan.units());
        let (position, line) = (item / lines, item % lines);
        let inside = from + position < len;
        let valid = select(inside, 16u32, 0u32);
        let at = select(inside, from + position, 0usize);
        let at = place(&source.of, table, at, comptime!(plan.block));
        let bytes = u64::cast_from(at) * comptime!(plan.row_bytes() as u64).runtime()
            + u64::cast_from(line * 16);
        let address = to + line_address(position, line, plan);
        copy_async(address, source.keys + bytes, valid);
        copy_async(
            address + comptime!(plan.tile_bytes() as u32),
            source.values + bytes,
            valid,
        );
    }
}

/// Byte offset of line `line` of row `row` of a tile. Swizzled, so that the same line of 8 consecutive
/// rows lies in different banks.
#[cube]
fn line_address(row: usize, line: usize, #[comptime] plan: PrefillPlan) -> u32 {
    let turn = match comptime!(plan.row_bytes() >= 128) {
        true => row % 8,
        false => row / 2 % 4,
    };
    u32::cast_from(row * comptime!(plan.row_bytes()) + (line ^ turn) * 16)
}

#[cube]
fn quad_max(value: f32) -> f32 {
    let pair = max(value, plane_shuffle_xor(value, 1u32));
    max(pair, plane_shuffle_xor(pair, 2u32))
}

#[cube]
fn quad_sum(value: f32) -> f32 {
    let pair = value + plane_shuffle_xor(value, 1u32);
    pair + plane_shuffle_xor(pair, 2u32)
}
