//! Moves tiles of a head's rows from global to shared memory, and from there to registers.

use cubecl::prelude::*;

use super::base::FlashPlan;
use crate::device_code::ptx::{copy_async, load_matrices, temporary};

/// Runtime sizes; strides count pairs of elements.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct FlashExtents {
    /// Sequences.
    pub batch: usize,
    /// Tokens of a sequence.
    pub length: usize,
    /// Query heads.
    pub heads: usize,
    /// Key heads.
    pub kv_heads: usize,
    /// Row stride of qkv.
    pub qkv_stride: usize,
    /// Row stride of the output.
    pub out_stride: usize,
    /// Row stride of the output's gradient.
    pub d_out_stride: usize,
    /// Row stride of the gradient of qkv.
    pub d_qkv_stride: usize,
    /// Heads of a section. Cubes of one section run consecutively, so that what they read stays in the
    /// cache.
    pub section: usize,
    /// Factor of the scores.
    pub scale: f32,
}

/// The tile that a cube computes.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Work {
    /// Index of the tile in its head.
    pub tile: usize,
    /// Index of the head among those of all sequences: `sequence · heads + head`.
    pub pair: usize,
}

/// The work of cube `CUBE_POS`, where each of `pairs` heads has `tiles` tiles. Sections come one after
/// another; within a section, tile 0 of every head comes before tile 1.
#[cube]
pub(super) fn work(tiles: usize, pairs: usize, section: usize) -> Work {
    let before = CUBE_POS / (tiles * section) * section;
    let within = CUBE_POS % (tiles * section);
    let heads = min(section, pairs - before);
    Work {
        tile: within / heads,
        pair: before + within % heads,
    }
}

/// What this unit copies of a head: the same 16-byte line of several rows.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Source {
    /// Address of the unit's line in its first row.
    from: u64,
    /// Row stride, in bytes.
    stride: u64,
    /// The unit's first row.
    row: usize,
    /// Byte offset of that line in a tile.
    to: u32,
}

#[cube]
impl Source {
    /// The same rows, `bytes` bytes further.
    pub fn plus(&self, bytes: u64) -> Source {
        Source {
            from: self.from + bytes,
            stride: self.stride,
            row: self.row,
            to: self.to,
        }
    }
}

/// This unit's source for the head whose first row starts `start` pairs after `base`.
#[cube]
pub(super) fn source(
    base: u64,
    start: usize,
    stride: usize,
    #[comptime] plan: FlashPlan,
) -> Source {
    let lines = comptime!(plan.row_bytes() / 16);
    let (row, line) = (UNIT_POS as usize / lines, UNIT_POS as usize % lines);
    let first = u64::cast_from(start + row * stride) * 4u64 + u64::cast_from(line) * 16u64;
    Source {
        from: base + first,
        stride: u64::cast_from(stride) * 4u64,
        row,
        to: line_address(row, line, plan),
    }
}

/// Starts copying `rows` rows from `first` on to the tile at `to`. Rows from `length` on become zeros.
#[cube]
pub(super) fn copy_rows(
    source: &Source,
    first: usize,
    length: usize,
    to: u32,
    #[comptime] rows: usize,
    #[comptime] plan: FlashPlan,
) {
    let step = comptime!(plan.units() * 16 / plan.row_bytes());
    let from = source.from + u64::cast_from(first) * source.stride;
    let further = source.stride * comptime!(step as u64).runtime();
    #[unroll]
    for i in 0..comptime!(rows / step) {
        let inside = first + source.row + comptime!(i * step) < length;
        let valid = select(inside, 16u32, 0u32);
        let place = to + source.to + comptime!((i * step * plan.row_bytes()) as u32);
        copy_async(place, from + further * comptime!(i as u64).runtime(), valid);
    }
}

/// Starts copying a tile of each of two sources, from row `first` on, to the stage at `to`.
#[cube]
pub(super) fn copy_stage(
    one: &Source,
    other: &Source,
    first: usize,
    length: usize,
    to: u32,
    #[comptime] plan: FlashPlan,
) {
    let rows = comptime!(plan.tile);
    copy_rows(one, first, length, to, rows, plan);
    let next = to + comptime!(plan.tile_bytes() as u32);
    copy_rows(other, first, length, next, rows, plan);
}

/// Starts copying 8 bytes. Only the first `valid` bytes are read; the rest become zero.
#[cube]
pub(super) fn copy_async_pair(shared: u32, global: u64, valid: u32) {
    let (shared, valid) = (temporary(shared), temporary(valid));
    gpu_asm!(
        "cp.async.ca.shared.global [{shared}], [{global}], 8, {valid};",
        shared = in(_) shared,
        global = in(_) global,
        valid = in(_) valid,
    );
}

/// Byte offset of line `line` of row `row` of a tile. Swizzled, so that the same line of 8 consecutive
/// rows lies in different banks.
#[cube]
pub(super) fn line_address(row: usize, line: usize, #[comptime] plan: FlashPlan) -> u32 {
    let turn = match comptime!(plan.row_bytes() >= 128) {
        true => row % 8,
        false => row / 2 % 4,
    };
    u32::cast_from(row * comptime!(plan.row_bytes()) + (line ^ turn) * 16)
}

/// Loads left operands of `mma` from the first rows of the tile at `tile`: `plan.blocks` blocks of 16
/// rows, and columns `32 · part` to `32 · (part + parts)`. Each 16 × 16 elements are four registers.
#[cube]
pub(super) fn load_left(
    tile: u32,
    #[comptime] part: usize,
    #[comptime] parts: usize,
    #[comptime] plan: FlashPlan,
) -> Array<u32> {
    let lane = UNIT_POS as usize % 32;
    let mut held = Array::<u32>::new(comptime!((plan.blocks * parts * 8).max(1)));
    #[unroll]
    for depth in 0..comptime!(2 * parts) {
        let line = comptime!(4 * part + 2 * depth) + lane / 16;
        let address = tile + line_address(lane % 16, line, plan);
        #[unroll]
        for block in 0..comptime!(plan.blocks) {
            let matrices =
                load_matrices(address + comptime!((16 * block * plan.row_bytes()) as u32));
            let at = comptime!(4 * (2 * parts * block + depth));
            #[unroll]
            for register in 0..4usize {
                held[comptime!(at + register)] = matrices.extract(register);
            }
        }
    }
    held
}

/// Loads left operands of `mma` from global memory: `plan.blocks` blocks of 16 rows from `first` on. Rows
/// past the last repeat it. The head's first row starts at pair `start`.
#[cube]
pub(super) fn load_rows(
    from: &[u32],
    start: usize,
    stride: usize,
    first: usize,
    length: usize,
    #[comptime] plan: FlashPlan,
) -> Array<u32> {
    let dim = comptime!(plan.dim);
    let lane = UNIT_POS as usize % 32;
    let mut held = Array::<u32>::new(comptime!(plan.blocks * dim / 4));
    #[unroll]
    for block in 0..comptime!(plan.blocks) {
        let row = first + comptime!(16 * block) + lane / 4;
        let low = start + min(row, length - 1) * stride + lane % 4;
        let high = start + min(row + 8, length - 1) * stride + lane % 4;
        #[unroll]
        for i in 0..comptime!(dim / 16) {
            let at = comptime!(block * dim / 4 + 4 * i);
            held[at] = from[low + comptime!(8 * i)];
            held[comptime!(at + 1)] = from[high + comptime!(8 * i)];
            held[comptime!(at + 2)] = from[low + comptime!(8 * i + 4)];
            held[comptime!(at + 3)] = from[high + comptime!(8 * i + 4)];
        }
    }
    held
}

/// The maximum over the four lanes that share a row.
#[cube]
pub(super) fn quad_max(value: f32) -> f32 {
    let pair = max(value, plane_shuffle_xor(value, 1u32));
    max(pair, plane_shuffle_xor(pair, 2u32))
}

/// The sum over the four lanes that share a row.
#[cube]
pub(super) fn quad_sum(value: f32) -> f32 {
    let pair = value + plane_shuffle_xor(value, 1u32);
    pair + plane_shuffle_xor(pair, 2u32)
}
