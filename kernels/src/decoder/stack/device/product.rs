//! Device code: a cube's share of a product.

use cubecl::prelude::*;
use tritburn_formats::WeightCode;

use super::super::base::StackPlan;
use super::super::share::Share;
use super::handoff::{MISSING, parity, send, store_word};
use crate::decoder::glu::GatedActivation;
use crate::decoder::norm::{Source, gate};
use crate::device_code::MmaType;
use crate::device_code::decode::rounded_product;
use crate::device_code::ptx::lines::{high, low};
use crate::device_code::ptx::{
    copy_async, copy_async_commit, copy_async_wait, load_early, load_floats, load_line, load_once,
    pack_half, prefetch,
};
use crate::operand::FloatType;
use crate::product::cuda::MmaInput;
use crate::product::cuda::skinny::{load_staged, multiply_step};

const INT8: MmaInput = MmaInput {
    types: MmaType::Int8,
    terms: 1,
};

/// Where a piece of a warp's lies: strip, column tile, and whether there is such a piece.
#[derive(CubeType, Clone, Copy)]
struct Piece {
    strip: usize,
    tile: usize,
    live: bool,
}

#[cube]
fn piece(#[comptime] slot: usize, #[comptime] share: Share, #[comptime] cubes: usize) -> Piece {
    let warp = UNIT_POS as usize / 32;
    let (group, member) = (warp / comptime!(share.warps), warp % comptime!(share.warps));
    let number = group + comptime!(slot % share.per_group() * share.groups);
    let tile = member + comptime!(slot / share.per_group() * share.warps);
    let matrices = comptime!(share.matrices);
    let of_one = CUBE_POS + number / matrices * comptime!(cubes);
    let live = number < comptime!(share.per_cube).runtime()
        && of_one < comptime!(share.strips).runtime()
        && tile < comptime!(share.tiles).runtime();
    Piece {
        strip: number % matrices * comptime!(share.strips) + of_one,
        tile,
        live,
    }
}

/// Offset of this lane's words of a piece, in bytes.
#[cube]
fn offset(piece: &Piece, #[comptime] share: Share) -> u64 {
    let strip = piece.strip;
    let tile = (strip / 4 * comptime!(share.tiles) + piece.tile) * 2048;
    u64::cast_from(tile + strip % 4 * 512 + UNIT_POS as usize % 32 * 16)
}

/// Starts to bring this cube's words of a weight to L2.
#[cube]
pub(super) fn prefetch_words(words: u64, #[comptime] share: Share, #[comptime] cubes: usize) {
    if comptime!(!share.staged) && UNIT_POS as usize % 8 == 0 {
        #[unroll]
        for slot in 0..comptime!(share.slots()) {
            let piece = piece(slot, share, cubes);
            if piece.live {
                prefetch(words + offset(&piece, share));
            }
        }
    }
}

/// Loads this warp's words of the first pieces.
#[cube]
pub(super) fn load_words(
    words: u64,
    held: &mut Array<Vector<u32, Const<4>>>,
    #[comptime] share: Share,
    #[comptime] cubes: usize,
) {
    if comptime!(!share.staged) {
        #[unroll]
        for slot in 0..comptime!(StackPlan::ahead(share)) {
            load_piece(words, held, slot, share, cubes);
        }
    }
}

#[cube]
fn load_piece(
    words: u64,
    held: &mut Array<Vector<u32, Const<4>>>,
    #[comptime] slot: usize,
    #[comptime] share: Share,
    #[comptime] cubes: usize,
) {
    let at = comptime!(slot % StackPlan::ahead(share));
    let piece = piece(slot, share, cubes);
    held[at] = Vector::new(0u32);
    if piece.live {
        held[at] = load_once(words + offset(&piece, share));
    }
}

/// Starts to copy this warp's words of a weight, if they are staged: each lane to its own lines of `stage`, so
/// that no barrier stands between the copy and its use.
#[cube]
pub(super) fn copy_words(
    words: u64,
    stage: u32,
    wanted: bool,
    #[comptime] share: Share,
    #[comptime] cubes: usize,
) {
    if comptime!(share.staged) {
        if wanted {
            #[unroll]
            for slot in 0..comptime!(share.slots()) {
                let piece = piece(slot, share, cubes);
                let from = select(piece.live, offset(&piece, share), 0u64);
                let bytes = select(piece.live, 16u32, 0u32);
                copy_async(own_line(stage, slot), words + from, bytes);
            }
        }
        copy_async_commit();
    }
}

/// This lane's line of a staged piece.
#[cube]
fn own_line(stage: u32, #[comptime] slot: usize) -> u32 {
    stage + u32::cast_from(UNIT_POS as usize + comptime!(slot * StackPlan::UNITS)) * 16
}

/// Row scales of the outputs of this unit, of each matrix: two rows.
#[cube]
pub(super) fn load_scales(
    scales: u64,
    found: &mut Array<f32>,
    #[comptime] share: Share,
    #[comptime] cubes: usize,
) {
    let item = UNIT_POS as usize;
    let strip = CUBE_POS + item / 8 * comptime!(cubes);
    #[unroll]
    for matrix in 0..comptime!(share.matrices) {
        found[comptime!(2 * matrix)] = 0.0f32;
        found[comptime!(2 * matrix + 1)] = 0.0f32;
        if item < comptime!(share.pairs()).runtime() && strip < comptime!(share.strips).runtime() {
            let row = (strip + comptime!(matrix * share.strips)) * 16 + item % 8 * 2;
            let from = scales + u64::cast_from(row * 4);
            found[comptime!(2 * matrix)] = load_early(from);
            found[comptime!(2 * matrix + 1)] = load_early(from + 4);
        }
    }
}

/// Multiplies the codes at `codes` in shared memory by this cube's strips, whose first words are `held`, or all of
/// which are at `stage` once at most `pending` groups of copies are under way, and leaves the sums of its warps
/// in `shared`.
#[cube]
#[allow(
    clippy::too_many_arguments,
    reason = "operands and places of a product"
)]
pub(super) fn multiply_strips(
    words: u64,
    held: &mut Array<Vector<u32, Const<4>>>,
    codes: u32,
    shared: &mut [u32],
    stage: u32,
    #[comptime] pending: usize,
    #[comptime] share: Share,
    #[comptime] cubes: usize,
    #[comptime] code: WeightCode,
) {
    let lane = UNIT_POS as usize % 32;
    let per_group = comptime!(share.per_group());
    let ahead = comptime!(StackPlan::ahead(share));
    let chains = comptime!(share.chains());
    if comptime!(share.staged) {
        copy_async_wait(pending);
    }
    let mut acc = Array::<Vector<i32, Const<4>>>::new(comptime!(per_group * chains));
    #[unroll]
    for i in 0..comptime!(per_group * chains) {
        acc[i] = Vector::new(0i32);
    }
    #[unroll]
    for round in 0..comptime!(share.rounds()) {
        let first = piece(comptime!(round * per_group), share, cubes);
        // A tile past the last one is multiplied as zeros: any codes do.
        let tile = min(first.tile, comptime!(share.tiles - 1).runtime());
        let line = codes + u32::cast_from(tile * 128 + lane / 8 * 16);
        let right = load_staged(line, INT8);
        #[unroll]
        for j in 0..per_group {
            let slot = comptime!(round * per_group + j);
            let piece = match comptime!(share.staged) {
                true => load_line(own_line(stage, slot)),
                false => held[comptime!(slot % ahead)],
            };
            #[unroll]
            for step in 0..4usize {
                let at = comptime!(j * chains + step % chains);
                acc[at] = multiply_step::<i32>(piece, &right, acc[at], step, code, INT8);
            }
            let next = comptime!(slot + ahead);
            if comptime!(!share.staged && next < share.slots()) {
                load_piece(words, held, next, share, cubes);
            }
        }
    }
    // The only token serves as all 8 of the `mma`: the first of them is enough.
    let warp = UNIT_POS as usize / 32;
    let (group, member) = (warp / comptime!(share.warps), warp % comptime!(share.warps));
    #[unroll]
    for j in 0..per_group {
        let mut sum0 = 0i32;
        let mut sum1 = 0i32;
        #[unroll]
        for chain in 0..chains {
            sum0 += acc[comptime!(j * chains + chain)].extract(0usize);
            sum1 += acc[comptime!(j * chains + chain)].extract(2usize);
        }
        let number = group + comptime!(j * share.groups);
        if lane % 4 == 0 && number < comptime!(share.per_cube).runtime() {
            let at = (number * comptime!(share.warps) + member) * 16 + lane / 2;
            shared[at] = u32::reinterpret(sum0);
            shared[at + 1] = u32::reinterpret(sum1);
        }
    }
    sync_cube();
}

/// The outputs of two adjacent rows, rounded to half precision and packed: `scales` are those of the rows,
/// `sums` the address of what the warps of the strip found.
#[cube]
fn packed_pair(
    sums: u32,
    scales: &Array<f32>,
    #[comptime] matrix: usize,
    scale: f32,
    #[comptime] share: Share,
    #[comptime] dtype: FloatType,
) -> u32 {
    let mut sum0 = 0i32;
    let mut sum1 = 0i32;
    #[unroll]
    for warp in 0..comptime!(share.warps) {
        let both = load_floats(sums + comptime!(64 * warp as u32));
        sum0 += i32::reinterpret(both.extract(0usize));
        sum1 += i32::reinterpret(both.extract(1usize));
    }
    let value0 = rounded_product(f32::cast_from(sum0), scales[comptime!(2 * matrix)] * scale);
    let value1 = rounded_product(
        f32::cast_from(sum1),
        scales[comptime!(2 * matrix + 1)] * scale,
    );
    pack_half(
        value0 + 0.0f32,
        value1 + 0.0f32,
        comptime!(MmaType::of(dtype)),
    )
}

/// Adds the sums of the warps and hands on this cube's outputs at `out`, pairs of half-precision floats, with
/// `number`; those of the last layer go to `last` instead, as they are. NaN where the cube has given up.
#[cube]
#[allow(clippy::too_many_arguments, reason = "operands and places of outputs")]
pub(super) fn write_rows(
    sums: u32,
    scales: &Array<f32>,
    scale: f32,
    out: u64,
    number: u32,
    last: u64,
    is_last: bool,
    failed: bool,
    #[comptime] share: Share,
    #[comptime] cubes: usize,
    #[comptime] dtype: FloatType,
) {
    let item = UNIT_POS as usize;
    let strip = CUBE_POS + item / 8 * comptime!(cubes);
    if item < comptime!(share.pairs()).runtime() && strip < comptime!(share.strips).runtime() {
        let at = item / 8 * comptime!(share.warps * 16) + item % 8 * 2;
        let pair = packed_pair(
            sums + u32::cast_from(at) * 4,
            scales,
            0usize,
            scale,
            share,
            dtype,
        );
        let pair = select(failed, MISSING, pair);
        let index = u64::cast_from(strip * 8 + item % 8);
        if is_last {
            store_word(last + index * 4, pair);
        } else {
            send(out + index * 8, pair, number);
        }
    }
}

/// Whether a negative gate counts as 0.
pub(super) const fn gates_are_positive(source: Source) -> bool {
    matches!(source, Source::Gated(GatedActivation::SquaredRelu))
}

/// The bits of a half-precision gate without a sign: 0 for negative numbers, NaN for NaN.
#[cube]
fn positive(bits: u32, #[comptime] dtype: FloatType) -> u32 {
    let infinity = comptime!(if dtype == FloatType::F16 {
        0x7C00u32
    } else {
        0x7F80
    });
    let magnitude = bits & 0x7FFF;
    select(bits != magnitude && magnitude <= infinity, 0u32, magnitude)
}

/// As [`write_rows`] for gate and up: hands on `gate(g) · u` of the rounded outputs as f32, or g without its sign
/// above u, which are half the bytes.
#[cube]
#[allow(clippy::too_many_arguments, reason = "operands and places of outputs")]
pub(super) fn write_gated(
    sums: u32,
    scales: &Array<f32>,
    scale: f32,
    out: u64,
    number: u32,
    #[comptime] source: Source,
    #[comptime] share: Share,
    #[comptime] cubes: usize,
    #[comptime] dtype: FloatType,
) {
    let item = UNIT_POS as usize;
    let strip = CUBE_POS + item / 8 * comptime!(cubes);
    if item < comptime!(share.pairs()).runtime() && strip < comptime!(share.strips).runtime() {
        let at = 2 * (item / 8) * comptime!(share.warps * 16) + item % 8 * 2;
        let sums = sums + u32::cast_from(at) * 4;
        let other = sums + comptime!(64 * share.warps as u32);
        let gates = packed_pair(sums, scales, 0usize, scale, share, dtype);
        let ups = packed_pair(other, scales, 1usize, scale, share, dtype);
        let index = u64::cast_from(strip * 16 + item % 8 * 2);
        if comptime!(gates_are_positive(source)) {
            // Gates that are negative count as 0, which leaves their sign to the parity.
            let parity = parity(number);
            let first = (positive(gates & 0xFFFF, dtype) << 16) | (ups & 0xFFFF) | parity;
            let second = (positive(gates >> 16, dtype) << 16) | (ups >> 16) | parity;
            store_word(out + index * 4, first);
            store_word(out + index * 4 + 4, second);
        } else {
            let first = low(ups, dtype) * gate(low(gates, dtype), source);
            let second = high(ups, dtype) * gate(high(gates, dtype), source);
            let to = out + index * 8;
            send(to, u32::reinterpret(first), number);
            send(to + 8, u32::reinterpret(second), number);
        }
    }
}
