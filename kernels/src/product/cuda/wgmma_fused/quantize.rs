//! Quantises the tokens of a cluster and distributes the int8 codes to the shared memory of its
//! cubes.
//!
//! Activations are read once. Between the search for the maximum and the rounding they stay in
//! registers if a warp has few of them, else in shared memory.

use cubecl::prelude::*;

use super::base::FusedBlueprint;
use super::cluster::{peer_address, send_line, send_word};
use super::kernel::{CubeWork, Memory};
use crate::device_code::ptx::lines::{
    codes, larger, largest_of_line, largest_of_warp, magnitude_of,
};
use crate::device_code::ptx::{
    copy_async, load_global, load_line, load_word, store_line, store_word,
};
use crate::operand::FloatType;
use crate::product::cuda::stage::TileExtents;
use crate::quantize::activation::{rounding_of, scale_of};

/// The share of one warp: tokens `token`, `token + teams`, … (`plan.rounds()` of them), and of each
/// the 512-column chunks `part`, `part + parts`, … (`plan.chunk_rounds()` of them).
#[derive(CubeType, Clone, Copy)]
struct WarpWork {
    token: u32,
    part: u32,
    lane: u32,
}

#[cube]
fn warp_work(#[comptime] plan: FusedBlueprint) -> WarpWork {
    let warp = UNIT_POS / 32;
    WarpWork {
        token: warp / comptime!(plan.parts() as u32),
        part: warp % comptime!(plan.parts() as u32),
        lane: UNIT_POS % 32,
    }
}

/// Whether chunk `chunk`, of round `round`, exists.
#[cube]
fn has_chunk(chunk: u32, round: u32, #[comptime] plan: FusedBlueprint) -> bool {
    let (chunks, parts) = comptime!((plan.chunks() as u32, plan.parts() as u32));
    comptime!(chunks.is_multiple_of(parts)).runtime()
        || round + 1 < comptime!(plan.chunk_rounds() as u32)
        || chunk < chunks
}

/// Byte offset of line `line` in a chunk of 32 · `size` lines of 16 bytes. Swizzled, so that 8
/// lanes that read every `size`-th line access different banks.
#[cube]
fn swizzled(line: u32, #[comptime] size: u32) -> u32 {
    (line ^ ((line >> 3) & comptime!(size - 1))) * 16
}

/// Starts copying this cube's tokens and columns to shared memory. Elements past M, K or the cube's
/// columns become zeros.
#[cube]
pub(super) fn stage(
    x_base: u64,
    memory: &Memory,
    cube_work: &CubeWork,
    extents: &TileExtents,
    #[comptime] dtype: FloatType,
    #[comptime] exact: bool,
    #[comptime] plan: FusedBlueprint,
) {
    let warp_work = warp_work(plan);
    let size = comptime!(dtype.size() as u32);
    let tile_bytes = comptime!(128 * dtype.size());
    let start = cube_work.first * tile_bytes;
    let left = u32::cast_from(min(extents.x_bytes - start, cube_work.steps * tile_bytes));
    let first = cube_work.token + cube_work.share * comptime!(plan.own_tokens());
    for round in 0..comptime!(plan.rounds() as u32) {
        let row = warp_work.token + round * comptime!(plan.teams() as u32);
        let token = first + usize::cast_from(row);
        let inside = token < extents.m;
        // Tokens past the last are not read.
        let left = select(inside, left, 0u32);
        let from = u64::cast_from(select(inside, token, 0usize)) * u64::cast_from(extents.x_stride)
            + u64::cast_from(start)
            + x_base;
        let to = memory.staging
            + row * comptime!(plan.pitch(dtype) as u32)
            + swizzled(warp_work.lane, size);
        for i in 0..comptime!(plan.chunk_rounds() as u32) {
            let chunk = warp_work.part + i * comptime!(plan.parts() as u32);
            if has_chunk(chunk, i, plan) {
                let first = chunk * comptime!(512 * size);
                #[unroll]
                for part in 0..size {
                    let block = first + comptime!(512 * part);
                    let at = block + warp_work.lane * 16;
                    if comptime!(exact) {
                        let valid = select(inside, 16u32, 0u32);
                        copy_async(to + block, from + u64::cast_from(at), valid);
                    } else {
                        let at = min(at, left);
                        let line = from + u64::cast_from(at & 0xFFFF_FFF0u32);
                        copy_async(to + block, line, min(left - at, 16u32));
                    }
                }
            }
        }
    }
}

/// Loads this warp's activations into registers: `dtype.size()` lines of 16 bytes a lane for each
/// of its tokens and chunks.
#[cube]
pub(super) fn load_held(
    x_base: u64,
    cube_work: &CubeWork,
    extents: &TileExtents,
    #[comptime] dtype: FloatType,
    #[comptime] plan: FusedBlueprint,
) -> Array<Vector<u32, Const<4>>> {
    let warp_work = warp_work(plan);
    let size = comptime!(dtype.size());
    let count = comptime!(plan.rounds() * plan.chunk_rounds());
    let mut held = Array::<Vector<u32, Const<4>>>::new(comptime!(count * size));
    let start = cube_work.first * comptime!(128 * size);
    let first = cube_work.token + cube_work.share * comptime!(plan.own_tokens());
    #[unroll]
    for i in 0..count {
        let (round, chunk_round) = comptime!((i / plan.chunk_rounds(), i % plan.chunk_rounds()));
        let row = warp_work.token + comptime!((round * plan.teams()) as u32);
        let chunk = warp_work.part + comptime!((chunk_round * plan.parts()) as u32);
        let token = first + usize::cast_from(row);
        let from = u64::cast_from(token) * u64::cast_from(extents.x_stride)
            + u64::cast_from(start)
            + x_base
            + u64::cast_from((chunk * 32 + warp_work.lane) * comptime!(16 * size as u32));
        #[unroll]
        for part in 0..size {
            let index = comptime!(i * size + part);
            held[index] = Vector::new(0u32);
            if token < extents.m && has_chunk(chunk, comptime!(chunk_round as u32).runtime(), plan)
            {
                held[index] = load_global(from + comptime!(16 * part as u64));
            }
        }
    }
    held
}

/// This lane's lines of chunk `chunk` of token `row`: entry `index` of `held` if activations are in
/// registers, else from shared memory.
#[cube]
#[allow(clippy::too_many_arguments, reason = "where a line may be")]
fn lines_of(
    held: &Array<Vector<u32, Const<4>>>,
    index: u32,
    memory: &Memory,
    row: u32,
    chunk: u32,
    lane: u32,
    #[comptime] dtype: FloatType,
    #[comptime] in_registers: bool,
    #[comptime] plan: FusedBlueprint,
) -> Array<Vector<u32, Const<4>>> {
    let size = comptime!(dtype.size() as u32);
    let mut lines = Array::<Vector<u32, Const<4>>>::new(comptime!(dtype.size()));
    let row = row * comptime!(plan.pitch(dtype) as u32);
    let from = memory.staging + row + chunk * comptime!(512 * size);
    #[unroll]
    for part in 0..size {
        let at = comptime!(part as usize);
        if comptime!(in_registers) {
            lines[at] = held[usize::cast_from(index * size + part)];
        } else {
            lines[at] = load_line(from + swizzled(lane * size + part, size));
        }
    }
    lines
}

/// Finds the largest magnitude of each of this warp's tokens in its columns. It is returned if the warp has
/// all columns of a token; otherwise it is stored for the cube's other warps, or sent to the cubes that have
/// the other columns.
#[cube]
pub(super) fn find_maxima(
    held: &Array<Vector<u32, Const<4>>>,
    memory: &Memory,
    cube_work: &CubeWork,
    #[comptime] dtype: FloatType,
    #[comptime] in_registers: bool,
    #[comptime] plan: FusedBlueprint,
) -> Array<u32> {
    let warp_work = warp_work(plan);
    let splits = comptime!(plan.splits as u32);
    let slot = u32::cast_from(cube_work.split) * comptime!(plan.parts() as u32) + warp_work.part;
    // Offset of the shared memory of the lane-th cube of the same tokens.
    let rank = u32::cast_from(cube_work.share) * splits + warp_work.lane % splits;
    let away = peer_address(memory.codes, rank) - memory.codes;
    let mut tops = Array::<u32>::new(comptime!(plan.rounds()));
    #[unroll(in_registers)]
    for round in 0..comptime!(plan.rounds() as u32) {
        let row = warp_work.token + round * comptime!(plan.teams() as u32);
        let mut top = 0u32.runtime();
        #[unroll(in_registers)]
        for i in 0..comptime!(plan.chunk_rounds() as u32) {
            let chunk = warp_work.part + i * comptime!(plan.parts() as u32);
            if has_chunk(chunk, i, plan) {
                let index = round * comptime!(plan.chunk_rounds() as u32) + i;
                let lines = lines_of(
                    held,
                    index,
                    memory,
                    row,
                    chunk,
                    warp_work.lane,
                    dtype,
                    in_registers,
                    plan,
                );
                #[unroll]
                for part in 0..comptime!(dtype.size()) {
                    top = larger(top, largest_of_line(lines[part], dtype), dtype);
                }
            }
        }
        let top = largest_of_warp(magnitude_of(top, dtype));
        let to = memory.maxima + (row * comptime!(plan.slots() as u32) + slot) * 4;
        if comptime!(plan.keeps_maxima(in_registers)) {
            tops[usize::cast_from(round)] = top;
        } else if comptime!(plan.splits == 1) {
            store_word(to, top);
        } else if warp_work.lane < splits {
            send_word(to + away, memory.barriers + away, top);
        }
    }
    tops
}

/// Rounds this cube's tokens to int8, with the same bits as the quantiser kernel, and stores codes
/// and scales in every cube that multiplies them.
#[cube]
#[allow(
    clippy::too_many_arguments,
    reason = "where activations and their maxima may be"
)]
pub(super) fn send_codes(
    held: &Array<Vector<u32, Const<4>>>,
    tops: &Array<u32>,
    memory: &Memory,
    cube_work: &CubeWork,
    #[comptime] dtype: FloatType,
    #[comptime] in_registers: bool,
    #[comptime] plan: FusedBlueprint,
) {
    let warp_work = warp_work(plan);
    let slots = comptime!(plan.slots() as u32);
    let (splits, shares) = comptime!((plan.splits as u32, plan.shares as u32));
    let own = u32::cast_from(cube_work.share);
    let split = u32::cast_from(cube_work.split);
    let barrier = memory.barriers + 8;
    // Offsets of the shared memory of the cubes with the same columns. Each cube begins with
    // itself, so that they do not all write to one at a time.
    let mut away = Array::<u32>::new(comptime!(plan.shares));
    #[unroll]
    for i in 0..shares {
        let rank = (own + i) % shares * splits + split;
        away[comptime!(i as usize)] = peer_address(memory.codes, rank) - memory.codes;
    }
    #[unroll(in_registers)]
    for round in 0..comptime!(plan.rounds() as u32) {
        let row = warp_work.token + round * comptime!(plan.teams() as u32);
        let top = if comptime!(plan.keeps_maxima(in_registers)) {
            tops[usize::cast_from(round)]
        } else {
            let slot = row * slots + warp_work.lane % slots;
            largest_of_warp(load_word(memory.maxima + slot * 4))
        };
        let rounding = rounding_of(top);
        let (finite, a) = (rounding.finite, rounding.a);
        let token = own * comptime!(plan.own_tokens() as u32) + row;
        // The layout that wgmma reads: column tiles of rows of 128 bytes, line l at l xor (row mod
        // 8).
        let to = memory.codes
            + token * 128
            + warp_work.lane / 8 * comptime!(plan.x_bytes() as u32)
            + ((warp_work.lane % 8) ^ (token % 8)) * 16;
        #[unroll(in_registers)]
        for i in 0..comptime!(plan.chunk_rounds() as u32) {
            let chunk = warp_work.part + i * comptime!(plan.parts() as u32);
            if has_chunk(chunk, i, plan) {
                let index = round * comptime!(plan.chunk_rounds() as u32) + i;
                let lines = lines_of(
                    held,
                    index,
                    memory,
                    row,
                    chunk,
                    warp_work.lane,
                    dtype,
                    in_registers,
                    plan,
                );
                let a0 = select(finite, codes(&lines, 0usize, a, dtype), 0u32);
                let a1 = select(finite, codes(&lines, 1usize, a, dtype), 0u32);
                let a2 = select(finite, codes(&lines, 2usize, a, dtype), 0u32);
                let a3 = select(finite, codes(&lines, 3usize, a, dtype), 0u32);
                let to = to + chunk * comptime!(4 * plan.x_bytes() as u32);
                if comptime!(plan.shares == 1) {
                    store_line(to, a0, a1, a2, a3);
                } else {
                    #[unroll]
                    for i in 0..comptime!(plan.shares) {
                        send_line(to + away[i], barrier + away[i], a0, a1, a2, a3);
                    }
                }
            }
        }
        if warp_work.part == 0 && warp_work.lane < shares {
            let scale = u32::reinterpret(scale_of(&rounding));
            let to = memory.scales + token * 4;
            if comptime!(plan.shares == 1) {
                store_word(to, scale);
            } else {
                let rank = warp_work.lane * splits + split;
                send_word(peer_address(to, rank), peer_address(barrier, rank), scale);
            }
        }
    }
}
