//! The loops where rows carry a scale per group of inputs.
//!
//! A group is a whole number of words, and a lane of a fresh accumulator is the sum of one word.
//! So sums of single words, or of four words for four rows at once, are kept for a whole row, and
//! the epilogue adds them up as the groups lie.

use std::ops::Range;

use super::job::W2A8Job;
use super::tile::{Lanes, PREFETCH_BYTES, ROWS, load_rows, plane_offset};

/// All `rows` for `T` tokens.
///
/// # Safety
/// As [`run`](super::tile::run).
#[inline(always)]
pub(super) unsafe fn column<L: Lanes, const T: usize>(
    job: &W2A8Job<'_>,
    rows: Range<usize>,
    token: usize,
    group_words: usize,
) {
    let steps = job.words_per_row.div_ceil(L::BYTES / 4);
    let mut row = rows.start;
    if group_words.is_multiple_of(4) {
        let mut sums = vec![[0i32; ROWS]; T * steps * (L::BYTES / 16)];
        while row + ROWS <= rows.end {
            // SAFETY: the caller's promise.
            unsafe { four_rows::<L, T>(job, row, token, group_words / 4, &mut sums) };
            row += ROWS;
        }
    }
    let mut sums = vec![0i32; T * steps * (L::BYTES / 4)];
    while row < rows.end {
        // SAFETY: the caller's promise.
        unsafe { one_row::<L, T>(job, row, token, group_words, &mut sums) };
        row += 1;
    }
}

/// Four rows whose groups are whole quads of words. `sums` is `[T][quad][row]`.
#[inline(always)]
unsafe fn four_rows<L: Lanes, const T: usize>(
    job: &W2A8Job<'_>,
    row: usize,
    token: usize,
    group_quads: usize,
    sums: &mut [[i32; ROWS]],
) {
    let words = job.words_per_row;
    let step_words = L::BYTES / 4;
    let per_token = sums.len() / T;
    let (w, x, stride) = (job.row(row), job.planes.token(token), job.planes.stride());
    for step in 0..words.div_ceil(step_words) {
        let done = step * step_words;
        // SAFETY: rows and tokens are inside the job, whose planes are padded to whole blocks; a
        // row's words are only read up to its end; `sums` has room for every step.
        unsafe {
            for r in 0..ROWS {
                let ahead = (step * ROWS + r) * L::BYTES + PREFETCH_BYTES;
                L::prefetch(w.wrapping_byte_add(ahead));
            }
            let raw = load_rows::<L, ROWS>(w.add(done), words, words - done);
            let mut acc = [[L::zero(); T]; ROWS];
            L::dot(&mut acc, &raw, x.add(plane_offset::<L>(step)), stride);
            for t in 0..T {
                let at = sums.as_mut_ptr().add(t * per_token + done / 4);
                L::quads([acc[0][t], acc[1][t], acc[2][t], acc[3][t]], at);
            }
        }
    }
    for (t, sums) in sums.chunks_exact(per_token).enumerate() {
        let sums = &sums[..words.div_ceil(4)];
        // SAFETY: the caller's promise.
        unsafe { job.store_groups(token + t, row, sums, group_quads) };
    }
}

/// One row, groups of any size. `sums` is `[T][word]`.
#[inline(always)]
unsafe fn one_row<L: Lanes, const T: usize>(
    job: &W2A8Job<'_>,
    row: usize,
    token: usize,
    group_words: usize,
    sums: &mut [i32],
) {
    let words = job.words_per_row;
    let step_words = L::BYTES / 4;
    let per_token = sums.len() / T;
    let (w, x, stride) = (job.row(row), job.planes.token(token), job.planes.stride());
    for step in 0..words.div_ceil(step_words) {
        let done = step * step_words;
        // SAFETY: as in `four_rows`.
        unsafe {
            let raw = load_rows::<L, 1>(w.add(done), words, words - done);
            let mut acc = [[L::zero(); T]; 1];
            L::dot(&mut acc, &raw, x.add(plane_offset::<L>(step)), stride);
            for (t, &acc) in acc[0].iter().enumerate() {
                L::store(acc, sums.as_mut_ptr().add(t * per_token + done));
            }
        }
    }
    for (t, sums) in sums.chunks_exact(per_token).enumerate() {
        let (sums, _) = sums[..words].as_chunks::<1>();
        // SAFETY: the caller's promise.
        unsafe { job.store_groups(token + t, row, sums, group_words) };
    }
}
