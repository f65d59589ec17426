//! Stores sums as outputs, with the token scales from shared memory; adds the partial sums of a cluster
//! first.

use cubecl::prelude::*;

use super::base::FusedBlueprint;
use super::cluster::{peer_address, send_line, wait_bytes};
use super::kernel::{CubeWork, Memory};
use crate::device_code::MmaType;
use crate::device_code::epilogue::{RowPair, row_pair, write_pair};
use crate::device_code::ptx::{load_floats, load_line};
use crate::product::cuda::args::ProductArgs;
use crate::product::cuda::wgmma::product::accumulator;
use crate::product::cuda::wgmma::tile::first_row;

/// The first of the two tokens of group `group` (8 tokens) whose sums this unit holds.
#[cube]
fn first_token(group: usize) -> usize {
    group * 8 + 2 * (UNIT_POS as usize % 4)
}

/// The scales of this unit's tokens, two per group of 8.
#[cube]
pub(super) fn token_scales(memory: &Memory, #[comptime] plan: FusedBlueprint) -> Array<f32> {
    let mut scales = Array::<f32>::new(comptime!(plan.tokens / 4));
    #[unroll]
    for group in 0..comptime!(plan.tokens / 8) {
        let both = load_floats(memory.scales + u32::cast_from(first_token(group)) * 4);
        scales[comptime!(2 * group)] = both.extract(0usize);
        scales[comptime!(2 * group + 1)] = both.extract(1usize);
    }
    scales
}

/// Sends every split this cube's partial sums of the outputs that the other cube will store: every
/// `plan.splits`-th group of 8 tokens, 16 bytes a unit.
#[cube]
pub(super) fn send_sums(memory: &Memory, cube_work: &CubeWork, #[comptime] plan: FusedBlueprint) {
    let line = u32::cast_from(cube_work.split) * comptime!(plan.units() as u32) + UNIT_POS;
    let base = u32::cast_from(cube_work.share) * comptime!(plan.splits as u32);
    let to = memory.staging + line * 16;
    let mut away = Array::<u32>::new(comptime!(plan.splits));
    #[unroll]
    for i in 0..comptime!(plan.splits) {
        let rank = base + comptime!(i as u32);
        away[i] = peer_address(memory.codes, rank) - memory.codes;
    }
    #[unroll]
    for i in 0..comptime!(plan.accumulators() / 4) {
        let a = u32::reinterpret(accumulator::<i32>(comptime!(4 * i), MmaType::Int8));
        let b = u32::reinterpret(accumulator::<i32>(comptime!(4 * i + 1), MmaType::Int8));
        let c = u32::reinterpret(accumulator::<i32>(comptime!(4 * i + 2), MmaType::Int8));
        let d = u32::reinterpret(accumulator::<i32>(comptime!(4 * i + 3), MmaType::Int8));
        let away = away[comptime!(i % plan.splits)];
        let offset = comptime!((i / plan.splits * plan.splits * plan.units() * 16) as u32);
        send_line(to + away + offset, memory.barriers + 16 + away, a, b, c, d);
    }
}

/// Waits for the partial sums of this cube's groups, adds them, lowest split first, rescales and stores
/// them.
#[cube]
pub(super) fn write_shared<O: Numeric, B: Float, W: Size>(
    args: &ProductArgs<B>,
    memory: &Memory,
    y: &mut [Vector<O, W>],
    cube_work: &CubeWork,
    #[comptime] plan: FusedBlueprint,
) {
    let extents = &args.extents;
    let per_tile = comptime!(plan.tokens / 8);
    let count = comptime!(plan.tiles * per_tile);
    let first = first_row(cube_work.row_tile, comptime!(plan.product()));
    // Loads row scales while the other cubes' sums arrive.
    let mut pairs = Sequence::<RowPair>::new();
    #[unroll]
    for i in 0..comptime!(plan.sum_groups()) {
        let group = cube_work.split + comptime!(i * plan.splits);
        let row = min(first + group / per_tile * 64, extents.n - 1);
        pairs.push(row_pair::<B>(
            row,
            extents.n,
            args.row_scales,
            &args.bias,
            true,
        ));
    }
    wait_bytes(memory.barriers + 16);
    #[unroll]
    for i in 0..comptime!(plan.sum_groups()) {
        let group = cube_work.split + comptime!(i * plan.splits);
        let row = first + group / per_tile * 64;
        if group < count && row < extents.n {
            let mut parts = Array::<Vector<u32, Const<4>>>::new(comptime!(plan.splits));
            #[unroll]
            for other in 0..comptime!(plan.splits) {
                let line = comptime!(((i * plan.splits + other) * plan.units()) as u32);
                parts[other] = load_line(memory.staging + (line + UNIT_POS) * 16);
            }
            let local = first_token(group % per_tile);
            let scale = load_floats(memory.scales + u32::cast_from(local) * 4);
            #[unroll]
            for e in 0..2usize {
                let token = cube_work.token + local + e;
                if token < extents.m {
                    let mut sum0 = 0i32.runtime();
                    let mut sum1 = 0i32.runtime();
                    #[unroll]
                    for other in 0..comptime!(plan.splits) {
                        sum0 += i32::reinterpret(parts[other].extract(e));
                        sum1 += i32::reinterpret(parts[other].extract(comptime!(e + 2)));
                    }
                    write_pair::<i32, O, W>(
                        y,
                        token * extents.y_stride,
                        &pairs[i],
                        scale.extract(e),
                        sum0,
                        sum1,
                        comptime!(args.code),
                        false,
                    );
                }
            }
        }
    }
}
