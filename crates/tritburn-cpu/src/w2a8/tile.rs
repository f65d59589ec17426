//! The loops over rows, tokens and inputs, generic over the vector operations of a set.

use std::ops::Range;

use super::grouped;
use super::job::W2A8Job;
use crate::planes::{BLOCK, PLANE};

/// Weight rows of a tile.
pub(crate) const ROWS: usize = 4;

/// Prefetch distance: how far ahead of the codes in use the next ones are prefetched. Measured: from 4 KiB to 8 KiB
/// cold products of one token gain a tenth to a quarter, beyond they lose again.
pub(super) const PREFETCH_BYTES: usize = 8192;

/// The vector operations of an instruction set.
///
/// Lane `l` of an accumulator only ever sums the products of one word of codes in each load, so
/// the lanes of a single load are the sums of its words.
///
/// # Safety
/// Every function needs the instruction set, and pointers valid for what it says it reads.
pub(crate) trait Lanes {
    /// A vector of packed codes.
    type Raw: Copy;
    /// A vector of i32 sums, `BYTES / 4` lanes.
    type Acc: Copy;
    /// Bytes of packed codes in a vector; divides 64.
    const BYTES: usize;
    /// Tokens of the widest tile whose accumulators stay in registers, at most 6.
    const MAX_TOKENS: usize;

    /// All lanes zero.
    unsafe fn zero() -> Self::Acc;
    /// Reads `BYTES` bytes.
    unsafe fn load(words: *const u32) -> Self::Raw;
    /// Reads `count < BYTES / 4` words; the other lanes are zero.
    unsafe fn load_part(words: *const u32, count: usize) -> Self::Raw;
    /// `acc[r][t] += raw[r] · x[t]`: plane `i` of token `t` is read at `x + t·stride + 64·i`.
    unsafe fn dot<const R: usize, const T: usize>(
        acc: &mut [[Self::Acc; T]; R],
        raw: &[Self::Raw; R],
        x: *const i8,
        stride: usize,
    );
    /// Sum of the lanes, wrapping.
    unsafe fn sum(acc: Self::Acc) -> i32;
    /// Sums of the lanes of four vectors, wrapping.
    unsafe fn sum4(acc: [Self::Acc; 4]) -> [i32; 4];
    /// Sums of each four neighbouring lanes of four vectors, wrapping: writes `BYTES / 16` times
    /// `[acc[0], acc[1], acc[2], acc[3]]`.
    unsafe fn quads(acc: [Self::Acc; 4], out: *mut [i32; 4]);
    /// Writes the lanes, `BYTES / 4` of them.
    unsafe fn store(acc: Self::Acc, out: *mut i32);
    /// Prefetches the cache line of an address, valid or not.
    unsafe fn prefetch(_address: *const u32) {}
}

/// Computes the outputs of `rows` and `tokens`.
///
/// # Safety
/// The instruction set is available, the ranges are inside the job, and no other task writes
/// these outputs.
#[inline(always)]
pub(crate) unsafe fn run<L: Lanes>(job: &W2A8Job<'_>, rows: Range<usize>, tokens: Range<usize>) {
    let mut token = tokens.start;
    while token < tokens.end {
        let left = tokens.end - token;
        // Equal shares: 5 tokens at 4 a tile are 3 and 2.
        let width = left.div_ceil(left.div_ceil(L::MAX_TOKENS));
        let rows = rows.clone();
        // SAFETY: the caller's promise.
        unsafe {
            match width {
                1 => column::<L, 1>(job, rows, token),
                2 => column::<L, 2>(job, rows, token),
                3 => column::<L, 3>(job, rows, token),
                4 => column::<L, 4>(job, rows, token),
                5 => column::<L, 5>(job, rows, token),
                _ => column::<L, 6>(job, rows, token),
            }
        }
        token += width;
    }
}

/// All `rows` for `T` tokens.
#[inline(always)]
unsafe fn column<L: Lanes, const T: usize>(job: &W2A8Job<'_>, rows: Range<usize>, token: usize) {
    if let Some(group_words) = job.group_words {
        // SAFETY: the caller's promise.
        unsafe { grouped::column::<L, T>(job, rows, token, group_words) };
        return;
    }
    let mut row = rows.start;
    while row + ROWS <= rows.end {
        // SAFETY: the caller's promise.
        unsafe {
            let acc = tile::<L, ROWS, T>(job, row, token);
            for t in 0..T {
                let raw = L::sum4([acc[0][t], acc[1][t], acc[2][t], acc[3][t]]);
                job.store(token + t, row, raw);
            }
        }
        row += ROWS;
    }
    while row < rows.end {
        // SAFETY: the caller's promise.
        unsafe {
            let [acc] = tile::<L, 1, T>(job, row, token);
            for (t, &acc) in acc.iter().enumerate() {
                job.store(token + t, row, [L::sum(acc)]);
            }
        }
        row += 1;
    }
}

/// Sums over all inputs of `R` rows and `T` tokens.
#[inline(always)]
unsafe fn tile<L: Lanes, const R: usize, const T: usize>(
    job: &W2A8Job<'_>,
    row: usize,
    token: usize,
) -> [[L::Acc; T]; R] {
    let words = job.words_per_row;
    let step_words = L::BYTES / 4;
    let steps = words / step_words;
    let w = job.row(row);
    let x = job.planes.token(token);
    let stride = job.planes.stride();
    // SAFETY: rows `row..row + R` and tokens `token..token + T` are inside the job, whose planes
    // are padded to whole blocks; a row's words are only read up to its end.
    unsafe {
        let mut acc = [[L::zero(); T]; R];
        for step in 0..steps {
            for r in 0..R {
                let ahead = (step * R + r) * L::BYTES + PREFETCH_BYTES;
                L::prefetch(w.wrapping_byte_add(ahead));
            }
            let raw = load_rows::<L, R>(w.add(step * step_words), words, step_words);
            L::dot(&mut acc, &raw, x.add(plane_offset::<L>(step)), stride);
        }
        let left = words - steps * step_words;
        if left > 0 {
            let raw = load_rows::<L, R>(w.add(steps * step_words), words, left);
            L::dot(&mut acc, &raw, x.add(plane_offset::<L>(steps)), stride);
        }
        acc
    }
}

/// A vector of each of `R` rows that are `words` apart, its first `count` words at most.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub(super) unsafe fn load_rows<L: Lanes, const R: usize>(
    at: *const u32,
    words: usize,
    count: usize,
) -> [L::Raw; R] {
    // SAFETY: the caller's promise.
    unsafe {
        if count >= L::BYTES / 4 {
            let mut raw = [L::load(at); R];
            for r in 1..R {
                raw[r] = L::load(at.add(r * words));
            }
            raw
        } else {
            let mut raw = [L::load_part(at, count); R];
            for r in 1..R {
                raw[r] = L::load_part(at.add(r * words), count);
            }
            raw
        }
    }
}

/// Where plane 0 of a vector of codes starts.
#[inline(always)]
pub(super) fn plane_offset<L: Lanes>(step: usize) -> usize {
    let per_block = PLANE / L::BYTES;
    step / per_block * BLOCK + step % per_block * L::BYTES
}
