//! Copies activations to shared memory, for all warps of a cube or for one.

use cubecl::prelude::*;
use half::{bf16, f16};

use super::base::SkinnyBlueprint;
use super::kernel::SkinnyExtents;
use crate::device_code::MmaType;
use crate::device_code::ptx::{copy_async, copy_async_commit, copy_async_wait, global_address};
use crate::product::cuda::MmaInput;

/// Starts copying the 16 bytes at byte `offset` of `token` to shared memory at `to`. Bytes past the end of
/// the row become zeros.
#[cube]
fn copy_line<F: Numeric>(
    x: &[F],
    to: u32,
    extents: &SkinnyExtents,
    token: usize,
    offset: usize,
    #[comptime] operand: MmaInput,
) {
    let element = comptime!(operand.types.size());
    // Int8 activations are words of four; rows are padded with zeros to 16 bytes.
    let unit_bytes = comptime!(if element == 1 { 4 } else { element });
    let row_bytes = comptime!(element).runtime() * extents.k;
    let start = token * extents.x_stride * unit_bytes;
    let base = global_address::<F>(x);
    if comptime!(element == 1) {
        let inside = offset < row_bytes;
        let from = base + u64::cast_from(start + select(inside, offset, 0usize));
        copy_async(to, from, select(inside, 16u32, 0u32));
    } else {
        let left = select(offset < row_bytes, row_bytes - offset, 0usize);
        let from = base + u64::cast_from(start + select(left > 0, offset, 0usize));
        copy_async(to, from, u32::cast_from(min(left, 16usize)));
    }
}

/// Copies the activations of column tiles `chunk..end`, 16 bytes at a time.
#[cube]
#[allow(clippy::too_many_arguments, reason = "the facts of a stage")]
pub(super) fn stage_lines<F: Numeric>(
    x: &[F],
    stage: u32,
    extents: &SkinnyExtents,
    token: usize,
    live: usize,
    chunk: usize,
    end: usize,
    #[comptime] operand: MmaInput,
    #[comptime] plan: SkinnyBlueprint,
) {
    let element = comptime!(operand.types.size());
    let lines = (end - chunk) * comptime!(8 * element);
    let mut i = UNIT_POS as usize;
    while i < lines * live {
        let mut row = 0usize.runtime();
        let mut line = i;
        if comptime!(plan.tokens > 1) {
            row = i / lines;
            line = i % lines;
        }
        let to = stage + u32::cast_from(row * comptime!(plan.pitch(operand)) + line * 16);
        let offset = chunk * comptime!(128 * element) + line * 16;
        copy_line::<F>(x, to, extents, token + row, offset, operand);
        i += comptime!(plan.units());
    }
    copy_async_commit();
    copy_async_wait(0usize);
}

/// Copies the activations of this warp's column tiles (`plan.ahead` from `tile` on) for this warp alone;
/// there is one token.
#[cube]
pub(super) fn stage_own<F: Numeric>(
    x: &[F],
    stage: u32,
    extents: &SkinnyExtents,
    token: usize,
    tile: usize,
    #[comptime] operand: MmaInput,
    #[comptime] plan: SkinnyBlueprint,
) {
    let element = comptime!(operand.types.size());
    let (per_tile, count) = comptime!((8 * element, 8 * element * plan.ahead));
    #[unroll]
    for round in 0..comptime!(count.div_ceil(32)) {
        let line = UNIT_POS as usize % 32 + comptime!(32 * round);
        if comptime!(32 * (round + 1) <= count).runtime() || line < count {
            let at = tile + line / per_tile * comptime!(plan.splits);
            let offset = at * comptime!(128 * element) + line % per_tile * 16;
            let to = stage + u32::cast_from(line) * 16;
            copy_line::<F>(x, to, extents, token, offset, operand);
        }
    }
    copy_async_commit();
    copy_async_wait(0usize);
    // Makes the other lanes' copies visible.
    sync_plane();
}

/// Copies the activations of column tiles `chunk..end`, two elements at a time, and splits f32 into three
/// bf16.
#[cube]
#[allow(clippy::too_many_arguments, reason = "the facts of a stage")]
pub(super) fn stage_elements<F: Numeric>(
    x: &[F],
    shared: &mut [u32],
    extents: &SkinnyExtents,
    token: usize,
    live: usize,
    chunk: usize,
    end: usize,
    #[comptime] operand: MmaInput,
    #[comptime] plan: SkinnyBlueprint,
) {
    let pairs = (end - chunk) * 64;
    let pitch = comptime!(plan.pitch(operand) / 4);
    let mut i = UNIT_POS as usize;
    while i < pairs * live {
        let (row, pair) = (i / pairs, i % pairs);
        let col = chunk * 128 + 2 * pair;
        let start = (token + row) * extents.x_stride;
        let mut low = 0.0f32;
        let mut high = 0.0f32;
        if col < extents.k {
            low = f32::cast_from(x[start + col]);
        }
        if col + 1 < extents.k {
            high = f32::cast_from(x[start + col + 1]);
        }
        #[unroll]
        for term in 0..comptime!(operand.terms) {
            let packed = match comptime!(operand.types) {
                MmaType::F16 => {
                    let (l, h) = (f16::cast_from(low), f16::cast_from(high));
                    u32::cast_from(u16::reinterpret(l))
                        | (u32::cast_from(u16::reinterpret(h)) << 16)
                }
                _ => {
                    let (l, h) = (bf16::cast_from(low), bf16::cast_from(high));
                    low -= f32::cast_from(l);
                    high -= f32::cast_from(h);
                    u32::cast_from(u16::reinterpret(l))
                        | (u32::cast_from(u16::reinterpret(h)) << 16)
                }
            };
            let at = (comptime!(term * plan.tokens) + row) * pitch + pair;
            shared[at] = packed;
        }
        i += comptime!(plan.units());
    }
}
