//! Device code: rows of the table are loaded from global memory into the registers of `mma` without a
//! rearrangement. The contraction does not depend on the order of the columns, as long as both operands
//! use the same one: each of the four lanes that share a row holds 16 of the 64 bytes of a step, and 8 of
//! these at a time serve as its part of the 32 bytes of an `mma`.

use cubecl::prelude::*;

use super::base::{STEP, STRIPS, TablePlan};
use crate::device_code::decode::rounded_product;
use crate::device_code::ptx::{
    copy_async, copy_async_commit, copy_async_wait, global_address, load_line, mma, shared_address,
};

/// Runtime sizes.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct TableExtents {
    /// Tokens.
    pub tokens: usize,
    /// Rows of the table.
    pub rows: usize,
    /// Cubes that divide the rows.
    pub workers: usize,
    /// Row stride of x, in bytes.
    pub x_stride: usize,
    /// Row stride of the table, in lines of 16 bytes.
    pub w_stride: usize,
    /// Row stride of y, in elements.
    pub y_stride: usize,
}

/// `y = x · Wᵀ`, sums of type `A`. With scales, a sum is multiplied by the product of its row's and its
/// token's.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn table<F: Numeric, A: Numeric>(
    x: &[F],
    w: &[Vector<u32, Const<4>>],
    x_scales: ComptimeOption<&[f32]>,
    w_scales: ComptimeOption<&[f32]>,
    y: &mut [f32],
    extents: TableExtents,
    #[comptime] plan: TablePlan,
    #[define(F)] _x_type: ElemType,
    #[define(A)] _sum_type: ElemType,
) {
    let shared = Shared::<[u32]>::new_aligned_slice(comptime!(plan.shared_bytes() / 4), 128usize);
    let stage = shared_address::<u32>(&shared);
    let unit = UNIT_POS as usize;
    let (warp, lane) = (unit / 32, unit % 32);
    let first = (CUBE_POS / extents.workers) * comptime!(plan.tokens());
    copy_tokens::<F>(x, stage, first, &extents, plan);

    let steps = comptime!(plan.row / STEP).runtime();
    let mut block = (CUBE_POS % extents.workers) * comptime!(plan.rows());
    // This lane reads token `lane / 4` of a tile, and line `lane % 4` of a step.
    let here = stage
        + u32::cast_from((lane / 4) * comptime!(plan.pitch()))
        + u32::cast_from((lane % 4) * 16);
    let mut arrived = false.runtime();
    while block < extents.rows {
        let row = block + warp * comptime!(16 * STRIPS) + lane / 4;
        let mut held = Array::<Vector<u32, Const<4>>>::new(comptime!(plan.ahead * 2 * STRIPS));
        #[unroll]
        for i in 0..comptime!(plan.ahead) {
            load(w, &mut held, row, i.runtime(), lane, i, &extents, plan);
        }
        if !arrived {
            copy_async_wait(0usize);
            sync_cube();
            arrived = true.runtime();
        }
        let mut acc = Array::<Vector<A, Const<4>>>::new(comptime!(STRIPS * plan.tiles));
        #[unroll]
        for i in 0..comptime!(STRIPS * plan.tiles) {
            acc[i] = Vector::new(A::from_int(0));
        }
        let mut step = 0usize.runtime();
        while step < steps {
            #[unroll]
            for i in 0..comptime!(plan.ahead) {
                let at = step + i;
                if at < steps {
                    let line = here + u32::cast_from(at * comptime!(STEP));
                    multiply::<A>(&held, line, &mut acc, i, plan);
                    let next = at + comptime!(plan.ahead);
                    if next < steps {
                        load(w, &mut held, row, next, lane, i, &extents, plan);
                    }
                }
            }
            step += comptime!(plan.ahead);
        }
        #[unroll]
        for strip in 0..STRIPS {
            #[unroll]
            for tile in 0..comptime!(plan.tiles) {
                let sums = acc[comptime!(strip * plan.tiles + tile)];
                #[unroll]
                for e in 0..4usize {
                    let token = first + comptime!(8 * tile + e % 2) + 2 * (lane % 4);
                    let of = row + comptime!(16 * strip + 8 * (e / 2));
                    if token < extents.tokens && of < extents.rows {
                        let mut sum = f32::cast_from(sums.extract(e));
                        #[comptime]
                        if let ComptimeOption::Some(w_scales) = w_scales {
                            #[comptime]
                            if let ComptimeOption::Some(x_scales) = x_scales {
                                let scale = rounded_product(w_scales[of], x_scales[token]);
                                sum = rounded_product(sum, scale);
                            }
                        }
                        y[token * extents.y_stride + of] = sum;
                    }
                }
            }
        }
        block += extents.workers * comptime!(plan.rows());
    }
}

/// Starts copying the cube's tokens. Tokens past the last become zeros.
#[cube]
fn copy_tokens<F: Numeric>(
    x: &[F],
    stage: u32,
    first: usize,
    extents: &TableExtents,
    #[comptime] plan: TablePlan,
) {
    let base = global_address::<F>(x);
    let lines = comptime!(plan.row / 16);
    let mut i = UNIT_POS as usize;
    while i < comptime!(plan.tokens() * lines) {
        let (token, line) = (i / lines, i % lines);
        let inside = first + token < extents.tokens;
        let valid = select(inside, 16u32, 0u32);
        let from = select(inside, first + token, 0usize) * extents.x_stride + line * 16;
        let to = stage + u32::cast_from(token * comptime!(plan.pitch()) + line * 16);
        copy_async(to, base + u64::cast_from(from), valid);
        i += comptime!(plan.units());
    }
    copy_async_commit();
}

/// Loads step `step` of this lane's rows of the table into slot `slot`. Rows past the last repeat it.
#[cube]
#[allow(clippy::too_many_arguments, reason = "the place of a load")]
fn load(
    w: &[Vector<u32, Const<4>>],
    held: &mut Array<Vector<u32, Const<4>>>,
    row: usize,
    step: usize,
    lane: usize,
    #[comptime] slot: usize,
    extents: &TableExtents,
    #[comptime] plan: TablePlan,
) {
    let within = min(step, comptime!(plan.row / STEP - 1)) * comptime!(STEP / 16) + lane % 4;
    #[unroll]
    for j in 0..comptime!(2 * STRIPS) {
        let of = min(row + comptime!(8 * j), extents.rows - 1);
        held[comptime!(slot * 2 * STRIPS + j)] = w[of * extents.w_stride + within];
    }
}

/// Adds the products of one step.
#[cube]
fn multiply<A: Numeric>(
    held: &Array<Vector<u32, Const<4>>>,
    line: u32,
    acc: &mut Array<Vector<A, Const<4>>>,
    #[comptime] slot: usize,
    #[comptime] plan: TablePlan,
) {
    #[unroll]
    for tile in 0..comptime!(plan.tiles) {
        let b = load_line(line + comptime!((8 * tile * plan.pitch()) as u32));
        #[unroll]
        for strip in 0..STRIPS {
            let low = held[comptime!(2 * (slot * STRIPS + strip))];
            let high = held[comptime!(2 * (slot * STRIPS + strip) + 1)];
            let at = comptime!(strip * plan.tiles + tile);
            #[unroll]
            for half in 0..2usize {
                acc[at] = mma::<A>(
                    low.extract(comptime!(2 * half)),
                    high.extract(comptime!(2 * half)),
                    low.extract(comptime!(2 * half + 1)),
                    high.extract(comptime!(2 * half + 1)),
                    b.extract(comptime!(2 * half)),
                    b.extract(comptime!(2 * half + 1)),
                    acc[at],
                    comptime!(plan.types),
                );
            }
        }
    }
}
