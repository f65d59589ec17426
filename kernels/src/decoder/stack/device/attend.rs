//! Device code: rotary embedding, cache and attention of the only token.

use cubecl::prelude::*;

use super::super::base::StackPlan;
use super::handoff::{Serial, receive, send, store_word};
use crate::decoder::attention::{DecodePlan, LOWEST, combine_planes, combine_splits};
use crate::decoder::paging::{HeadPlace, block_of, head_place};
use crate::device_code::MmaType;
use crate::device_code::ptx::lines::{high, low, shuffle_xor};
use crate::device_code::ptx::{load_global, pack_half, prefetch};

/// Where the token stands, and the sizes of the cache.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Standing {
    /// Row of the cache.
    pub row: usize,
    /// Position in the row.
    pub position: usize,
    /// Whether the cache has row and position.
    pub inside: bool,
    /// Positions that it attends to.
    pub len: usize,
    /// Cubes that share the positions of a head.
    pub active: usize,
    /// Positions of a row of the cache.
    pub positions: usize,
    /// Blocks of the cache.
    pub blocks: usize,
    /// Row of the rotary table.
    pub angle: usize,
}

/// Operands of a layer's attention.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Memory {
    pub keys: u64,
    pub values: u64,
    pub rotary: u64,
    /// Outputs of q|k|v, handed on.
    pub qkv: u64,
    /// Partial results of shares, and attended heads, to be handed on.
    pub sums: u64,
    pub attended: u64,
}

/// Blocks of the token's row that a cube keeps in shared memory.
pub(in super::super) const BLOCKS: usize = 2048;

/// Where `position` of a head lies, in positions; `row_blocks` are the first [`BLOCKS`] of
/// the row.
#[cube]
fn cell_of(
    of: &HeadPlace,
    table: &[u32],
    row_blocks: &[u32],
    position: usize,
    #[comptime] block: Option<usize>,
) -> usize {
    if comptime!(block.is_some()) {
        let size = comptime!(block.unwrap());
        let mut found = usize::cast_from(row_blocks[min(position / size, BLOCKS - 1)]);
        if position / size >= BLOCKS {
            let block = block_of(table, of.row, position, of.positions, size);
            found = min(block, of.blocks - 1);
        }
        (found * of.heads + of.head) * size + position % size
    } else {
        of.base + position
    }
}

/// Positions of a share: from the first to the one past the last.
#[cube]
fn positions_of(share: usize, at: &Standing) -> (usize, usize) {
    let chunk = 1 + (at.len - 1) / at.active;
    let start = min(share * chunk, at.len);
    (start, min(start + chunk, at.len))
}

/// The head of keys and values of a tile of query heads.
#[cube]
fn key_head(tile: usize, #[comptime] plan: StackPlan) -> usize {
    tile / comptime!(plan.tiles() / plan.shape.kv_heads)
}

#[cube]
fn head_of(head: usize, at: &Standing, #[comptime] plan: StackPlan) -> HeadPlace {
    head_place(
        at.row,
        head,
        comptime!(plan.shape.kv_heads).runtime(),
        at.positions,
        at.blocks,
    )
}

/// Starts to bring this cube's first share of keys and values to L2.
#[cube]
pub(super) fn prefetch_share(
    memory: &Memory,
    table: &[u32],
    row_blocks: &[u32],
    at: &Standing,
    #[comptime] plan: StackPlan,
) {
    let (tile, share) = (CUBE_POS / at.active, CUBE_POS % at.active);
    if tile < comptime!(plan.tiles()).runtime() {
        let head = key_head(tile, plan);
        let (start, end) = positions_of(share, at);
        let of = head_of(head, at, plan);
        let row_bytes = comptime!(2 * plan.shape.dim);
        let per = comptime!(2 * row_bytes / 128);
        let mut i = UNIT_POS as usize;
        while i < (end - start) * per {
            let position = start + i / per;
            let cell = cell_of(
                &of,
                table,
                row_blocks,
                position,
                comptime!(plan.attention.block),
            );
            let part = i % per;
            let to = u64::cast_from(cell * row_bytes + part / 2 * 128);
            if part % 2 == 0 {
                prefetch(memory.keys + to);
            } else {
                prefetch(memory.values + to);
            }
            i += comptime!(StackPlan::UNITS);
        }
    }
}

/// Loads cosines and sines of this unit's line of half a head: before q|k|v is awaited.
#[cube]
pub(super) fn load_angles(
    memory: &Memory,
    at: &Standing,
    angles: &mut Array<f32>,
    #[comptime] plan: StackPlan,
) {
    let dim = comptime!(plan.shape.dim);
    let line = UNIT_POS as usize % comptime!(dim / 16);
    let from = memory.rotary + u64::cast_from((at.angle * dim + line * 8) * 4);
    #[unroll]
    for part in 0..2usize {
        let from = from + comptime!((part * dim / 2 * 4) as u64).runtime();
        let first = load_global(from);
        let second = load_global(from + 16);
        #[unroll]
        for j in 0..4usize {
            angles[comptime!(8 * part + j)] = f32::reinterpret(first.extract(j));
            angles[comptime!(8 * part + 4 + j)] = f32::reinterpret(second.extract(j));
        }
    }
}

/// Rotates the query heads of a tile into `queries`, and where this share holds the newest position also the
/// key, which goes to the cache with its value. Every tile of a key head writes the same.
#[cube]
#[allow(clippy::too_many_arguments, reason = "operands and places")]
fn rotate(
    memory: &Memory,
    table: &[u32],
    row_blocks: &[u32],
    at: &Standing,
    angles: &Array<f32>,
    serial: &Serial,
    tile: usize,
    newest: bool,
    queries: &mut [u32],
    #[comptime] plan: StackPlan,
) {
    let (dim, group, dtype) = comptime!((plan.shape.dim, plan.attention.group, plan.shape.dtype));
    let (heads, kv_heads) = comptime!((plan.shape.heads, plan.shape.kv_heads));
    let half = comptime!(dim / 16);
    let unit = UNIT_POS as usize;
    let (item, line) = (unit / half, unit % half);
    let head = key_head(tile, plan);
    let of = head_of(head, at, plan);
    let mut stored = at.inside && newest;
    if comptime!(plan.attention.block.is_some()) {
        let size = comptime!(plan.attention.block.unwrap());
        if stored {
            stored = block_of(table, at.row, at.position, at.positions, size) < at.blocks;
        }
    }
    let newest_position = min(at.position, at.positions - 1);
    let block = comptime!(plan.attention.block);
    let cell = cell_of(&of, table, row_blocks, newest_position, block);
    let is_key = item == group;
    if item < group || (is_key && stored) {
        let from_head = select(
            is_key,
            comptime!(heads).runtime() + head,
            tile * group + item,
        );
        let from = memory.qkv + u64::cast_from((from_head * dim + line * 8) * 4);
        let first = receive(from, serial);
        let second = receive(from + comptime!(2 * dim as u64).runtime(), serial);
        let mut lows = Array::<u32>::new(4usize);
        let mut highs = Array::<u32>::new(4usize);
        #[unroll]
        for word in 0..4usize {
            let mut turned = Array::<f32>::new(4usize);
            #[unroll]
            for j in 0..2usize {
                let e = comptime!(2 * word + j);
                let (a, b) = match comptime!(j) {
                    0 => (
                        low(first.extract(word), dtype),
                        low(second.extract(word), dtype),
                    ),
                    _ => (
                        high(first.extract(word), dtype),
                        high(second.extract(word), dtype),
                    ),
                };
                let (c, s) = (angles[e], angles[comptime!(8 + e)]);
                turned[j] = a * c - b * s;
                turned[comptime!(2 + j)] = b * c + a * s;
            }
            lows[word] = pack_half(turned[0], turned[1], comptime!(MmaType::of(dtype)));
            highs[word] = pack_half(turned[2], turned[3], comptime!(MmaType::of(dtype)));
        }
        if is_key {
            let to = memory.keys + u64::cast_from(cell * comptime!(2 * dim) + line * 16);
            #[unroll]
            for word in 0..4usize {
                let to = to + comptime!(4 * word as u64).runtime();
                store_word(to, lows[word]);
                store_word(to + comptime!(dim as u64).runtime(), highs[word]);
            }
        } else {
            let to = (item * dim + line * 8) / 2;
            #[unroll]
            for word in 0..4usize {
                queries[to + word] = lows[word];
                queries[to + comptime!(dim / 4 + word)] = highs[word];
            }
        }
    }
    let copied = unit - min(unit, comptime!(StackPlan::UNITS / 2).runtime());
    let copies =
        unit >= comptime!(StackPlan::UNITS / 2).runtime() && copied < comptime!(2 * half).runtime();
    if copies && stored {
        let from_head = comptime!(heads + kv_heads).runtime() + head;
        let from = memory.qkv + u64::cast_from((from_head * dim + copied * 8) * 4);
        let line = receive(from, serial);
        let to = memory.values + u64::cast_from(cell * comptime!(2 * dim) + copied * 16);
        #[unroll]
        for word in 0..4usize {
            store_word(
                to + comptime!(4 * word as u64).runtime(),
                line.extract(word),
            );
        }
    }
    sync_cube();
}

/// This cube's shares of all heads: rotates, attends, and hands on what it found to the cube of the last share,
/// which hands on the attended heads.
#[cube]
#[allow(clippy::too_many_arguments, reason = "operands and places")]
pub(super) fn attend_shares<F: Float>(
    memory: &Memory,
    table: &[u32],
    row_blocks: &[u32],
    at: &Standing,
    angles: &Array<f32>,
    serial: &Serial,
    scale: f32,
    #[comptime] plan: StackPlan,
) {
    let (dim, group, dtype) = comptime!((plan.shape.dim, plan.attention.group, plan.shape.dtype));
    // What a share finds, and the same in whole lines of four words.
    let words = comptime!(DecodePlan::slot_words(group, dim));
    let padded = comptime!(StackPlan::share_words(group, dim));
    let mut queries = Shared::<[u32]>::new_slice(comptime!(group * dim / 2));
    let mut shared = Shared::<[f32]>::new_slice(comptime!(plan.attention.shared_words()));
    let mut parts = Shared::<[f32]>::new_slice(comptime!(plan.splits * words));
    let mut out = Shared::<[F]>::new_slice(comptime!(group * dim));
    let unit = UNIT_POS as usize;
    let mut item = CUBE_POS;
    while item < comptime!(plan.tiles()).runtime() * at.active {
        let (tile, share) = (item / at.active, item % at.active);
        let last = share + 1 == at.active;
        rotate(
            memory,
            table,
            row_blocks,
            at,
            angles,
            serial,
            tile,
            last,
            &mut queries,
            plan,
        );
        let mut acc = Array::<f32>::new(comptime!(group * 8));
        let mut top = Array::<f32>::new(group);
        let mut weight = Array::<f32>::new(group);
        attend_share(
            memory,
            table,
            row_blocks,
            at,
            key_head(tile, plan),
            share,
            &queries,
            scale,
            &mut acc,
            &mut top,
            &mut weight,
            plan,
        );
        combine_planes::<F>(
            &mut shared,
            &acc,
            &top,
            &weight,
            &mut out,
            0usize,
            comptime!(group).runtime(),
            &mut parts,
            share * words,
            false,
            comptime!(plan.attention),
        );
        sync_cube();
        let of_tile = memory.sums + u64::cast_from(tile * comptime!(plan.splits * padded * 8));
        if last {
            let lines = share * comptime!(padded / 4);
            let mut i = unit;
            while i < lines {
                let found = receive(of_tile + u64::cast_from(i * 32), serial);
                let (from, first) = (i / comptime!(padded / 4), i % comptime!(padded / 4) * 4);
                #[unroll]
                for j in 0..4usize {
                    if first + j < words {
                        parts[from * words + first + j] = f32::reinterpret(found.extract(j));
                    }
                }
                i += comptime!(StackPlan::UNITS);
            }
            sync_cube();
            sync_plane();
            combine_splits::<F>(
                &mut shared,
                &mut out,
                0usize,
                comptime!(group).runtime(),
                &mut parts,
                0usize,
                at.active,
                comptime!(plan.attention),
            );
            sync_cube();
            if unit < comptime!(group * dim / 2).runtime() {
                let (first, second) = (
                    f32::cast_from(out[2 * unit]),
                    f32::cast_from(out[2 * unit + 1]),
                );
                let pair = pack_half(first, second, comptime!(MmaType::of(dtype)));
                let index = tile * comptime!(group * dim / 2) + unit;
                send(
                    memory.attended + u64::cast_from(index * 8),
                    pair,
                    serial.number,
                );
            }
        } else {
            let mut i = unit;
            while i < padded {
                let word = u32::reinterpret(parts[share * words + min(i, comptime!(words - 1))]);
                let to = of_tile + u64::cast_from((share * padded + i) * 8);
                send(to, word, serial.number);
                i += comptime!(StackPlan::UNITS);
            }
        }
        sync_cube();
        item += comptime!(plan.cubes);
    }
}

/// The softmax of a share in one pass, as the attention kernel on planes has it.
#[cube]
#[allow(clippy::too_many_arguments, reason = "operands and results")]
fn attend_share(
    memory: &Memory,
    table: &[u32],
    row_blocks: &[u32],
    at: &Standing,
    head: usize,
    share: usize,
    queries: &[u32],
    scale: f32,
    acc: &mut Array<f32>,
    top: &mut Array<f32>,
    weight: &mut Array<f32>,
    #[comptime] plan: StackPlan,
) {
    let of_plan = comptime!(plan.attention);
    let (dtype, dim, group) = comptime!((plan.shape.dtype, plan.shape.dim, of_plan.group));
    let (lanes, ahead) = comptime!((of_plan.lanes(), of_plan.ahead));
    let unit = UNIT_POS as usize % comptime!(of_plan.units);
    let (part, member) = (unit % lanes, unit / lanes);
    let (start, end) = positions_of(share, at);
    let of = head_of(head, at, plan);
    // As in `quantize_row`: scores are summed by shuffles.
    sync_plane();
    let mut query = Array::<f32>::new(comptime!(group * 8));
    #[unroll]
    for h in 0..group {
        #[unroll]
        for word in 0..4usize {
            let pair = queries[comptime!(h * dim / 2) + part * 4 + word];
            let e = comptime!(8 * h + 2 * word);
            query[e] = low(pair, dtype) * scale;
            query[comptime!(e + 1)] = high(pair, dtype) * scale;
        }
        #[unroll]
        for j in 0..8usize {
            acc[comptime!(8 * h + j)] = 0.0f32;
        }
        top[h] = comptime!(LOWEST).runtime();
        weight[h] = 0.0f32;
    }
    let mut first = start;
    let mut k = Array::<Vector<u32, Const<4>>>::new(ahead);
    let mut v = Array::<Vector<u32, Const<4>>>::new(ahead);
    load_cells(
        memory, table, row_blocks, &of, first, end, &mut k, &mut v, plan,
    );
    while first < end {
        // The next positions are on their way while these are computed.
        let next = first + comptime!(ahead * of_plan.positions());
        let mut next_k = Array::<Vector<u32, Const<4>>>::new(ahead);
        let mut next_v = Array::<Vector<u32, Const<4>>>::new(ahead);
        if next < end {
            load_cells(
                memory,
                table,
                row_blocks,
                &of,
                next,
                end,
                &mut next_k,
                &mut next_v,
                plan,
            );
        } else {
            #[unroll]
            for a in 0..ahead {
                next_k[a] = Vector::new(0u32);
                next_v[a] = Vector::new(0u32);
            }
        }
        #[unroll]
        for h in 0..group {
            let mut scores = Array::<f32>::new(ahead);
            let mut largest = top[h];
            #[unroll]
            for a in 0..ahead {
                let mut score = 0.0f32;
                #[unroll]
                for word in 0..4usize {
                    let e = comptime!(8 * h + 2 * word);
                    score += query[e] * low(k[a].extract(word), dtype);
                    score += query[comptime!(e + 1)] * high(k[a].extract(word), dtype);
                }
                #[unroll]
                for step in 0..comptime!(lanes.ilog2()) {
                    score += shuffle_xor(score, comptime!(1u32 << step));
                }
                let position = first + comptime!(a * of_plan.positions()) + member;
                scores[a] = select(position < end, score, comptime!(LOWEST).runtime());
                largest = max(largest, scores[a]);
            }
            let keep = (top[h] - largest).exp();
            top[h] = largest;
            weight[h] *= keep;
            #[unroll]
            for j in 0..8usize {
                acc[comptime!(8 * h + j)] *= keep;
            }
            #[unroll]
            for a in 0..ahead {
                let position = first + comptime!(a * of_plan.positions()) + member;
                let p = select(position < end, (scores[a] - largest).exp(), 0.0f32);
                weight[h] += p;
                #[unroll]
                for word in 0..4usize {
                    let e = comptime!(8 * h + 2 * word);
                    acc[e] += p * low(v[a].extract(word), dtype);
                    acc[comptime!(e + 1)] += p * high(v[a].extract(word), dtype);
                }
            }
        }
        #[unroll]
        for a in 0..ahead {
            k[a] = next_k[a];
            v[a] = next_v[a];
        }
        first = next;
    }
}

/// Loads this unit's lines of keys and values of the positions from `first` on; those past `end` repeat the last.
#[cube]
#[allow(clippy::too_many_arguments, reason = "operands and places")]
fn load_cells(
    memory: &Memory,
    table: &[u32],
    row_blocks: &[u32],
    of: &HeadPlace,
    first: usize,
    end: usize,
    k: &mut Array<Vector<u32, Const<4>>>,
    v: &mut Array<Vector<u32, Const<4>>>,
    #[comptime] plan: StackPlan,
) {
    let of_plan = comptime!(plan.attention);
    let lanes = comptime!(of_plan.lanes());
    let unit = UNIT_POS as usize % comptime!(of_plan.units);
    let (part, member) = (unit % lanes, unit / lanes);
    #[unroll]
    for a in 0..comptime!(of_plan.ahead) {
        let position = min(first + comptime!(a * of_plan.positions()) + member, end - 1);
        let cell = cell_of(of, table, row_blocks, position, comptime!(of_plan.block));
        let from = u64::cast_from((cell * lanes + part) * 16);
        k[a] = load_global(memory.keys + from);
        v[a] = load_global(memory.values + from);
    }
}
