//! Device code of the tensor-core GEMV.

use cubecl::prelude::*;
use half::{bf16, f16};
use tritburn_formats::WeightCode;

use super::base::{Operand, SkinnyBlueprint};
use crate::epilogue::{row_pair, token_scale, write_pair};
use crate::ptx::{
    MmaType, copy_async, copy_async_commit, copy_async_wait, decode_half, decode_int8,
    global_address, load_matrices, load_once, mma, shared_address,
};

/// Runtime sizes.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct SkinnyExtents {
    /// Tokens.
    pub m: usize,
    /// Weight rows.
    pub n: usize,
    /// Columns.
    pub k: usize,
    /// Tiles of 128 columns.
    pub col_tiles: usize,
    /// Tiles of 64 rows.
    pub row_tiles: usize,
    /// Elements of x (words of four if int8) between tokens.
    pub x_stride: usize,
    /// Elements between rows of y.
    pub y_stride: usize,
}

/// `y = x · Ŵᵀ + bias`, or the i32 sums if `integers`, for `plan.tokens` tokens a cube.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn skinny<F: Numeric, A: Numeric, O: Numeric, B: Float, W: Size>(
    x: &[F],
    x_scales: ComptimeOption<&[f32]>,
    words: &[Vector<u32, Const<4>>],
    row_scales: &[f32],
    bias: ComptimeOption<&[B]>,
    y: &mut [Vector<O, W>],
    extents: SkinnyExtents,
    #[comptime] code: WeightCode,
    #[comptime] operand: Operand,
    #[comptime] whole_lines: bool,
    #[comptime] integers: bool,
    #[comptime] plan: SkinnyBlueprint,
    #[define(F)] _x_type: ElemType,
    #[define(A)] _sum_type: ElemType,
    #[define(O)] _out_type: ElemType,
    #[define(B)] _bias_type: ElemType,
) {
    let accumulators = comptime!(plan.accumulators(operand));
    let mut shared =
        Shared::<[u32]>::new_aligned_slice(comptime!(plan.shared_words(operand)), 128usize);
    let stage = shared_address::<u32>(&shared);

    let unit = UNIT_POS as usize;
    let (warp, lane) = (unit / 32, unit % 32);
    let split = warp % comptime!(plan.splits);
    let cubes_n = (extents.n + comptime!(plan.strips * 16 - 1)) / comptime!(plan.strips * 16);
    // One pass over the weights needs no division, whose result the first load would wait for.
    let mut token = 0usize.runtime();
    let mut cube = CUBE_POS;
    if extents.m > comptime!(plan.tokens) {
        token = (CUBE_POS / cubes_n) * comptime!(plan.tokens);
        cube = CUBE_POS % cubes_n;
    }
    let strip = cube * comptime!(plan.strips) + warp / comptime!(plan.splits);
    // Strips past the end repeat the last one and store nothing: every warp meets at the barriers.
    let readable = min(strip, extents.row_tiles * 4 - 1);
    let first = (readable / 4) * extents.col_tiles * 128 + (readable % 4) * 32 + lane;
    let base = global_address::<Vector<u32, Const<4>>>(words) + u64::cast_from(first) * 16;
    let live = min(comptime!(plan.tokens).runtime(), extents.m - token);

    // The last 16 bytes of the stage are the row of every token that is not there.
    let zeros = comptime!(plan.tokens * operand.terms * plan.pitch(operand) / 4);

    let mut acc = Array::<Vector<A, Const<4>>>::new(accumulators);
    #[unroll]
    for i in 0..accumulators {
        acc[i] = Vector::new(A::from_int(0));
    }
    // Tiles of this warp, `plan.splits` apart: a ring of registers that is filled again as soon as a
    // tile is multiplied, across chunks.
    let mut tile = split;
    let mut held = Array::<Vector<u32, Const<4>>>::new(comptime!(plan.ahead));
    #[unroll]
    for i in 0..comptime!(plan.ahead) {
        let at = tile + comptime!(i * plan.splits);
        if at < extents.col_tiles {
            held[i] = load_once(base + u64::cast_from(at * 2048));
        }
    }
    // What the last lines of the kernel need is on its way too: cold memory answers late.
    let mine = unit % comptime!(32 * plan.splits);
    let row = strip * 16 + 2 * (mine % 8);
    // Loads of units that write nothing would only fill the queues.
    let writes = mine < comptime!(8 * plan.tokens);
    let pair = row_pair::<B>(
        min(row, extents.n - 1),
        extents.n,
        row_scales,
        &bias,
        writes,
    );
    let mut scales = Array::<f32>::new(comptime!(plan.passes()));
    #[unroll]
    for pass in 0..comptime!(plan.passes()) {
        let local = mine / 8 + comptime!(4 * plan.splits * pass);
        scales[pass] = 1.0f32;
        if writes {
            scales[pass] = token_scale(&x_scales, token + min(local, live - 1), integers);
        }
    }

    let mut chunk = 0usize.runtime();
    while chunk < extents.col_tiles {
        let end = min(chunk + comptime!(plan.chunk), extents.col_tiles);
        if chunk > 0 {
            sync_cube();
        }
        if unit < 4 {
            shared[zeros + unit] = 0u32;
        }
        if comptime!(whole_lines) {
            stage_lines::<F>(x, stage, &extents, token, live, chunk, end, operand, plan);
        } else {
            stage_elements::<F>(
                x,
                &mut shared,
                &extents,
                token,
                live,
                chunk,
                end,
                operand,
                plan,
            );
        }
        sync_cube();
        while tile < end {
            #[unroll]
            for i in 0..comptime!(plan.ahead) {
                let at = tile + comptime!(i * plan.splits);
                if at < end {
                    let offset =
                        u32::cast_from(at - chunk) * comptime!(128 * operand.types.size() as u32);
                    multiply::<A>(held[i], stage, offset, live, &mut acc, code, operand, plan);
                    let next = at + comptime!(plan.ahead * plan.splits);
                    if next < extents.col_tiles {
                        held[i] = load_once(base + u64::cast_from(next * 2048));
                    }
                }
            }
            tile += comptime!(plan.ahead * plan.splits);
        }
        chunk += comptime!(plan.chunk);
    }

    let sums = comptime!(plan.sums_at(operand));
    if comptime!(sums == 0) {
        // The sums take the place of the activations.
        sync_cube();
    }
    publish::<A>(&mut shared, &acc, sums, warp, lane, operand, plan);
    sync_cube();
    if row < extents.n {
        #[unroll]
        for pass in 0..comptime!(plan.passes()) {
            let local = mine / 8 + comptime!(4 * plan.splits * pass);
            if local < live {
                // The warps of a strip in ascending order.
                let at = sums
                    + (warp - split) * comptime!(16 * plan.tokens)
                    + local * 16
                    + 2 * (mine % 8);
                let mut sum0 = A::reinterpret(shared[at]);
                let mut sum1 = A::reinterpret(shared[at + 1]);
                #[unroll]
                for other in 1..comptime!(plan.splits) {
                    let at = at + comptime!(16 * plan.tokens * other);
                    sum0 += A::reinterpret(shared[at]);
                    sum1 += A::reinterpret(shared[at + 1]);
                }
                write_pair::<A, O, W>(
                    y,
                    (token + local) * extents.y_stride,
                    &pair,
                    scales[pass],
                    sum0,
                    sum1,
                    code,
                    integers,
                );
            }
        }
    }
}

/// Activations of column tiles `chunk..end`, 16 bytes at a time.
#[cube]
#[allow(clippy::too_many_arguments, reason = "the facts of a stage")]
fn stage_lines<F: Numeric>(
    x: &[F],
    stage: u32,
    extents: &SkinnyExtents,
    token: usize,
    live: usize,
    chunk: usize,
    end: usize,
    #[comptime] operand: Operand,
    #[comptime] plan: SkinnyBlueprint,
) {
    let element = comptime!(operand.types.size());
    // Int8 activations come in words of four, rows padded with zeros to 16 bytes.
    let unit_bytes = comptime!(if element == 1 { 4 } else { element });
    let row_bytes = comptime!(element).runtime() * extents.k;
    let lines = (end - chunk) * comptime!(8 * element);
    let base = global_address::<F>(x);
    let mut i = UNIT_POS as usize;
    while i < lines * live {
        let mut row = 0usize.runtime();
        let mut line = i;
        if comptime!(plan.tokens > 1) {
            row = i / lines;
            line = i % lines;
        }
        let offset = chunk * comptime!(128 * element) + line * 16;
        let left = select(offset < row_bytes, row_bytes - offset, 0usize);
        let valid = u32::cast_from(min(left, 16usize));
        let valid = select(comptime!(element == 1).runtime() && left > 0, 16u32, valid);
        let start = (token + row) * extents.x_stride * unit_bytes;
        let from = base + u64::cast_from(start + select(left > 0, offset, 0usize));
        let to = stage + u32::cast_from(row * comptime!(plan.pitch(operand)) + line * 16);
        copy_async(to, from, valid);
        i += comptime!(plan.units());
    }
    copy_async_commit();
    copy_async_wait(0usize);
}

/// Activations of column tiles `chunk..end`, two elements at a time, f32 ones as three bf16.
#[cube]
#[allow(clippy::too_many_arguments, reason = "the facts of a stage")]
fn stage_elements<F: Numeric>(
    x: &[F],
    shared: &mut [u32],
    extents: &SkinnyExtents,
    token: usize,
    live: usize,
    chunk: usize,
    end: usize,
    #[comptime] operand: Operand,
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

/// Adds the products of one column tile.
#[cube]
#[allow(clippy::too_many_arguments, reason = "the facts of a tile")]
fn multiply<A: Numeric>(
    words: Vector<u32, Const<4>>,
    stage: u32,
    offset: u32,
    live: usize,
    acc: &mut Array<Vector<A, Const<4>>>,
    #[comptime] code: WeightCode,
    #[comptime] operand: Operand,
    #[comptime] plan: SkinnyBlueprint,
) {
    let lane = UNIT_POS as usize % 32;
    let (matrix, row) = (u32::cast_from(lane / 8), lane % 8);
    let pitch = comptime!(plan.pitch(operand));
    let zeros = comptime!((plan.tokens * operand.terms * pitch) as u32);
    #[unroll]
    for tile in 0..comptime!(plan.token_tiles()) {
        #[unroll]
        for term in 0..comptime!(operand.terms) {
            let token = comptime!(8 * tile) + row;
            let there = token < live;
            let line = u32::cast_from((comptime!(term * plan.tokens) + token) * pitch)
                + matrix * 16
                + offset;
            let mut sum = acc[comptime!(tile * operand.terms + term)];
            // A load brings 64 bytes of a token: two int8 products, or one word of half ones.
            let loads = comptime!(2 * operand.types.size());
            #[unroll]
            for load in 0..loads {
                let address =
                    stage + select(there, line + comptime!(64 * load as u32), zeros.runtime());
                let b = load_matrices(address);
                #[unroll]
                for s in 0..2usize {
                    let int8 = comptime!(operand.types == MmaType::Int8);
                    let word = words.extract(comptime!(if int8 { 2 * load + s } else { load }));
                    let mut a = Array::<u32>::new(4usize);
                    #[unroll]
                    for register in 0..4usize {
                        a[register] = match comptime!(operand.types) {
                            MmaType::Int8 => decode_int8(word, comptime!(register as u32), code),
                            _ => decode_half(
                                word,
                                comptime!((4 * s + register) as u32),
                                code,
                                comptime!(operand.types),
                            ),
                        };
                    }
                    sum = mma::<A>(
                        a[0],
                        a[1],
                        a[2],
                        a[3],
                        b.extract(comptime!(2 * s)),
                        b.extract(comptime!(2 * s + 1)),
                        sum,
                        comptime!(operand.types),
                    );
                }
            }
            acc[comptime!(tile * operand.terms + term)] = sum;
        }
    }
}

/// Puts a warp's sums where the strip's warps find them: 16 rows of every token.
#[cube]
fn publish<A: Numeric>(
    shared: &mut [u32],
    acc: &Array<Vector<A, Const<4>>>,
    #[comptime] sums: usize,
    warp: usize,
    lane: usize,
    #[comptime] operand: Operand,
    #[comptime] plan: SkinnyBlueprint,
) {
    #[unroll]
    for tile in 0..comptime!(plan.token_tiles()) {
        #[unroll]
        for e in 0..2usize {
            let local = comptime!(8 * tile + e) + 2 * (lane % 4);
            if local < comptime!(plan.tokens) {
                let first = comptime!(tile * operand.terms);
                let mut sum0 = acc[first].extract(e);
                let mut sum1 = acc[first].extract(comptime!(2 + e));
                #[unroll]
                for term in 1..comptime!(operand.terms) {
                    sum0 += acc[comptime!(first + term)].extract(e);
                    sum1 += acc[comptime!(first + term)].extract(comptime!(2 + e));
                }
                let at = sums + (warp * comptime!(plan.tokens) + local) * 16 + 2 * (lane / 4);
                shared[at] = u32::reinterpret(sum0);
                shared[at + 1] = u32::reinterpret(sum1);
            }
        }
    }
}
