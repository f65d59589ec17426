//! From the activations of a cluster's tokens to int8 in the shared memory of all its cubes.
//!
//! Loops, not unrolled code: in a call of some microseconds, instructions come from memory as slowly as
//! operands do. So activations wait in shared memory, not in registers, which no loop can index.

use cubecl::prelude::*;

use super::base::FusedBlueprint;
use super::cluster::{
    largest_of_warp, load_word, peer_address, store_line, store_peer_line, store_peer_word,
};
use super::kernel::Place;
use super::lines::{codes, larger, largest_of_line, magnitude_of};
use crate::decode::{INFINITY_BITS, nan_of};
use crate::gemm::cuda::stage::TileExtents;
use crate::operand::FloatType;
use crate::ptx::{copy_async, load_line};

/// What a warp does of the tokens that its cube quantises: of `plan.own_tokens()`, every
/// `plan.teams()`-th from `token`; of their chunks of 512 columns, every `plan.parts()`-th from `part`.
#[derive(CubeType, Clone, Copy)]
struct Share {
    token: u32,
    part: u32,
    lane: u32,
    chunks: u32,
}

#[cube]
fn share_of(place: &Place, #[comptime] plan: FusedBlueprint) -> Share {
    let warp = UNIT_POS / 32;
    Share {
        token: warp / comptime!(plan.parts() as u32),
        part: warp % comptime!(plan.parts() as u32),
        lane: UNIT_POS % 32,
        chunks: (u32::cast_from(place.steps) + 3) / 4,
    }
}

/// Where line `line` of a row lies in it: a lane reads `size` neighbouring lines, 8 lanes a time from
/// different banks.
#[cube]
fn swizzled(line: u32, #[comptime] size: u32) -> u32 {
    (line ^ ((line >> 3) & comptime!(size - 1))) * 16
}

/// Starts the copies of this cube's tokens and columns to `staging`. What lies past M, K or the columns
/// becomes zeros.
#[cube]
pub(super) fn stage(
    x_base: u64,
    staging: u32,
    place: &Place,
    extents: &TileExtents,
    #[comptime] dtype: FloatType,
    #[comptime] plan: FusedBlueprint,
) {
    let share = share_of(place, plan);
    let size = comptime!(dtype.size() as u32);
    let tile_bytes = comptime!(128 * dtype.size());
    let start = place.first * tile_bytes;
    let left = u32::cast_from(min(extents.x_bytes - start, place.steps * tile_bytes));
    let first = place.token + place.share * comptime!(plan.own_tokens());
    let mut row = share.token;
    while row < comptime!(plan.own_tokens() as u32) {
        let token = first + usize::cast_from(row);
        let inside = token < extents.m;
        let from = u64::cast_from(select(inside, token, 0usize)) * u64::cast_from(extents.x_stride)
            + u64::cast_from(start);
        let to = staging + row * comptime!(plan.pitch(dtype) as u32);
        let mut chunk = share.part;
        while chunk < share.chunks {
            #[unroll]
            for part in 0..size {
                let line = (chunk * size + part) * 32 + share.lane;
                let at = line * 16;
                let some = inside && at < left;
                let valid = select(some, min(left - at, 16u32), 0u32);
                let from = x_base + from + u64::cast_from(select(some, at, 0u32));
                copy_async(to + swizzled(line, size), from, valid);
            }
            chunk += comptime!(plan.parts() as u32);
        }
        row += comptime!(plan.teams() as u32);
    }
}

/// The largest magnitude that this warp finds in each of its tokens, put into the cubes that hold the
/// tokens' other columns.
#[cube]
pub(super) fn find_maxima(
    staging: u32,
    maxima: u32,
    place: &Place,
    #[comptime] dtype: FloatType,
    #[comptime] plan: FusedBlueprint,
) {
    let share = share_of(place, plan);
    let size = comptime!(dtype.size() as u32);
    let slot = u32::cast_from(place.split) * comptime!(plan.parts() as u32) + share.part;
    let mut row = share.token;
    while row < comptime!(plan.own_tokens() as u32) {
        let from = staging + row * comptime!(plan.pitch(dtype) as u32);
        let mut top = 0u32.runtime();
        let mut chunk = share.part;
        while chunk < share.chunks {
            let group = chunk * 32 + share.lane;
            #[unroll]
            for part in 0..size {
                let line = load_line(from + swizzled(group * size + part, size));
                let found = largest_of_line(line, dtype);
                // Zero is the least: a value of its own, not the variable's address, goes to PTX.
                top = larger(max(top, 0u32), found, dtype);
            }
            chunk += comptime!(plan.parts() as u32);
        }
        let found = largest_of_warp(magnitude_of(max(top, 0u32), dtype));
        if share.lane < comptime!(plan.splits as u32) {
            let to = maxima + (row * comptime!(plan.slots() as u32) + slot) * 4;
            let rank = u32::cast_from(place.share) * comptime!(plan.splits as u32) + share.lane;
            store_peer_word(peer_address(to, rank), found);
        }
        row += comptime!(plan.teams() as u32);
    }
}

/// Rounds this cube's tokens to int8, to the bits of the quantiser, and puts codes and scales into every
/// cube that multiplies them.
#[cube]
#[allow(clippy::too_many_arguments, reason = "places in shared memory")]
pub(super) fn spread(
    staging: u32,
    maxima: u32,
    codes_at: u32,
    scales: u32,
    place: &Place,
    #[comptime] dtype: FloatType,
    #[comptime] plan: FusedBlueprint,
) {
    let share = share_of(place, plan);
    let size = comptime!(dtype.size() as u32);
    let lines = u32::cast_from(place.steps) * 8;
    let own = u32::cast_from(place.share);
    let split = u32::cast_from(place.split);
    let mut row = share.token;
    while row < comptime!(plan.own_tokens() as u32) {
        let slot =
            row * comptime!(plan.slots() as u32) + share.lane % comptime!(plan.slots() as u32);
        let top = largest_of_warp(load_word(maxima + slot * 4));
        let finite = top < INFINITY_BITS;
        let a = 127.0f32 / max(f32::reinterpret(top), 1e-5f32);
        let token = own * comptime!(plan.own_tokens() as u32) + row;
        let from = staging + row * comptime!(plan.pitch(dtype) as u32);
        let to = codes_at + token * 128;
        let mut chunk = share.part;
        while chunk < share.chunks {
            let line = chunk * 32 + share.lane;
            let mut held = Array::<Vector<u32, Const<4>>>::new(comptime!(dtype.size()));
            #[unroll]
            for part in 0..size {
                let index = comptime!(part as usize);
                held[index] = load_line(from + swizzled(line * size + part, size));
            }
            let a0 = select(finite, codes(&held, 0usize, a, dtype), 0u32);
            let a1 = select(finite, codes(&held, 1usize, a, dtype), 0u32);
            let a2 = select(finite, codes(&held, 2usize, a, dtype), 0u32);
            let a3 = select(finite, codes(&held, 3usize, a, dtype), 0u32);
            if line < lines {
                // As wgmma reads it: a column tile after the other, rows of 128 bytes, line l at
                // l xor (row mod 8).
                let to = to
                    + line / 8 * comptime!(plan.x_bytes() as u32)
                    + ((line % 8) ^ (token % 8)) * 16;
                if comptime!(plan.shares == 1) {
                    store_line(to, a0, a1, a2, a3);
                } else {
                    #[unroll]
                    for i in 0..comptime!(plan.shares as u32) {
                        // Each cube begins with itself, so that they do not all write to one.
                        let peer = (own + i) % comptime!(plan.shares as u32);
                        let rank = peer * comptime!(plan.splits as u32) + split;
                        store_peer_line(peer_address(to, rank), a0, a1, a2, a3);
                    }
                }
            }
            chunk += comptime!(plan.parts() as u32);
        }
        if share.part == 0 && share.lane < comptime!(plan.shares as u32) {
            let scale = select(finite, 1.0f32 / a, nan_of(top));
            let rank = share.lane * comptime!(plan.splits as u32) + split;
            let to = peer_address(scales + token * 4, rank);
            store_peer_word(to, u32::reinterpret(scale));
        }
        row += comptime!(plan.teams() as u32);
    }
}
