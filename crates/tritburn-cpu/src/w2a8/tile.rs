//! The loops over rows, tokens and inputs, generic over the vector operations of a set.

use std::ops::Range;

use super::job::Job;
use crate::planes::{BLOCK, PLANE};

/// Weight rows of a tile.
pub(crate) const ROWS: usize = 4;

/// How far ahead of the codes in use the next ones are asked for.
const PREFETCH_BYTES: usize = 4096;

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
    #[inline(always)]
    unsafe fn sum4(acc: [Self::Acc; 4]) -> [i32; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            [
                Self::sum(acc[0]),
                Self::sum(acc[1]),
                Self::sum(acc[2]),
                Self::sum(acc[3]),
            ]
        }
    }
    /// Writes the lanes, `BYTES / 4` of them.
    unsafe fn store(acc: Self::Acc, out: *mut i32);
    /// Asks for the cache line of an address, valid or not.
    unsafe fn prefetch(_address: *const u32) {}
}

/// Computes the outputs of `rows` and `tokens`.
///
/// # Safety
/// The instruction set is available, the ranges are inside the job, and no other task writes
/// these outputs.
#[inline(always)]
pub(crate) unsafe fn run<L: Lanes>(job: &Job<'_>, rows: Range<usize>, tokens: Range<usize>) {
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
unsafe fn column<L: Lanes, const T: usize>(job: &Job<'_>, rows: Range<usize>, token: usize) {
    if let Some(group_words) = job.group_words {
        // SAFETY: the caller's promise.
        unsafe { grouped::<L, T>(job, rows, token, group_words) };
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
    job: &Job<'_>,
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
            let at = w.add(step * step_words);
            let mut raw = [L::load(at); R];
            for (r, raw) in raw.iter_mut().enumerate() {
                if T == 1 {
                    let ahead = (step * R + r) * L::BYTES + PREFETCH_BYTES;
                    L::prefetch(w.wrapping_byte_add(ahead));
                }
                *raw = L::load(at.add(r * words));
            }
            L::dot(&mut acc, &raw, x.add(plane_offset::<L>(step)), stride);
        }
        let left = words - steps * step_words;
        if left > 0 {
            let at = w.add(steps * step_words);
            let mut raw = [L::load_part(at, left); R];
            for (r, raw) in raw.iter_mut().enumerate() {
                *raw = L::load_part(at.add(r * words), left);
            }
            L::dot(&mut acc, &raw, x.add(plane_offset::<L>(steps)), stride);
        }
        acc
    }
}

/// Where plane 0 of a vector of codes starts.
#[inline(always)]
fn plane_offset<L: Lanes>(step: usize) -> usize {
    let per_block = PLANE / L::BYTES;
    step / per_block * BLOCK + step % per_block * L::BYTES
}

/// All `rows` for `T` tokens, with a scale per group.
///
/// A group is a whole number of words, so the sums of single words are kept, and the epilogue
/// adds them up as the groups lie.
#[inline(always)]
unsafe fn grouped<L: Lanes, const T: usize>(
    job: &Job<'_>,
    rows: Range<usize>,
    token: usize,
    group_words: usize,
) {
    let words = job.words_per_row;
    let step_words = L::BYTES / 4;
    let steps = words.div_ceil(step_words);
    let mut sums = vec![0i32; T * steps * step_words];
    let x = job.planes.token(token);
    let stride = job.planes.stride();
    for row in rows {
        let w = job.row(row);
        for step in 0..steps {
            // SAFETY: as in `tile`; `sums` has `steps · step_words` lanes a token.
            unsafe {
                let at = w.add(step * step_words);
                let left = words - step * step_words;
                let raw = match left >= step_words {
                    true => L::load(at),
                    false => L::load_part(at, left),
                };
                let mut acc = [[L::zero(); T]; 1];
                L::dot(&mut acc, &[raw], x.add(plane_offset::<L>(step)), stride);
                for (t, &acc) in acc[0].iter().enumerate() {
                    L::store(acc, sums.as_mut_ptr().add((t * steps + step) * step_words));
                }
            }
        }
        for (t, sums) in sums.chunks_exact(steps * step_words).enumerate() {
            // SAFETY: the caller's promise.
            unsafe { job.store_groups(token + t, row, &sums[..words], group_words) };
        }
    }
}
