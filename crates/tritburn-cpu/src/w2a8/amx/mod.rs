//! AMX int8: tiles of 16 weight rows by 16 tokens, 64 inputs a multiply.
//!
//! `tdpbusd` wants its left tile as 16 rows of 64 unsigned bytes, which a decoded plane of 16
//! weight rows is, and its right tile as 16 rows of four inputs each of 16 tokens.

#[cfg(test)]
mod tests;
mod tiles;

use std::arch::x86_64::*;
use std::ops::Range;

use rayon::prelude::*;

use super::job::W2A8Job;
use crate::parallel;
use crate::planes::{BLOCK, PLANE, Planes};
pub(crate) use tiles::enable;
use tiles::{EMPTY, Multiply, SIDE, Tile, multiply};

/// From this many tokens on tiles beat vectors.
pub(super) const MIN_TOKENS: usize = 16;

/// Weight rows of a strip: two tiles.
const STRIP: usize = 2 * SIDE;
/// Blocks of 256 inputs in a panel: the decoded codes of a strip (32 KiB) stay in the level-1
/// cache while the tokens pass over them.
const PANEL: usize = 4;
/// Strips of one task.
const TASK_ROWS: usize = 4 * STRIP;

/// Computes the outputs of all rows, which have one scale each, and of some tokens.
///
/// # Safety
/// [`enable`] has said yes, AVX-512 BW is available, the tokens are inside the job, and nobody
/// else writes these outputs.
pub(super) unsafe fn run(job: &W2A8Job<'_>, tokens: Range<usize>, parallel: bool) {
    // SAFETY: the caller's promise.
    unsafe { run_with(job, tokens, parallel, multiply) }
}

/// [`run`] with a given tile multiplication.
///
/// # Safety
/// As [`run`], and `multiply` can run.
unsafe fn run_with(job: &W2A8Job<'_>, tokens: Range<usize>, parallel: bool, multiply: Multiply) {
    let activations = Activations::new(job.planes, tokens, parallel);
    parallel::for_ranges(parallel, job.out_features(), STRIP, TASK_ROWS, |rows| {
        let mut weights = vec![EMPTY; PANEL * 4 * 2];
        let mut sums = vec![EMPTY; activations.groups() * 2];
        for row in rows.clone().step_by(STRIP) {
            let strip = row..(row + STRIP).min(rows.end);
            // SAFETY: the caller's promise; tasks own disjoint rows.
            unsafe { self::strip(job, &activations, strip, &mut weights, &mut sums, multiply) };
        }
    });
}

/// Activations as right tiles, `[token / 16][input / 64]`, zero past the last token.
struct Activations {
    tiles: Vec<Tile>,
    steps: usize,
    tokens: Range<usize>,
}

impl Activations {
    fn new(planes: &Planes, tokens: Range<usize>, parallel: bool) -> Self {
        let steps = planes.blocks() * BLOCK / PLANE;
        let mut tiles = vec![EMPTY; tokens.len().div_ceil(SIDE) * steps];
        let fill = |(group, tiles): (usize, &mut [Tile])| {
            let first = tokens.start + group * SIDE;
            for token in first..tokens.end.min(first + SIDE) {
                for (step, tile) in tiles.iter_mut().enumerate() {
                    let (quads, _) = planes.line(token, step).as_chunks::<4>();
                    let (cells, _) = tile.0.as_chunks_mut::<4>();
                    for (kk, quad) in quads.iter().enumerate() {
                        cells[kk * SIDE + token - first] = *quad;
                    }
                }
            }
        };
        match parallel {
            true => tiles.par_chunks_exact_mut(steps).enumerate().for_each(fill),
            false => tiles.chunks_exact_mut(steps).enumerate().for_each(fill),
        }
        Self {
            tiles,
            steps,
            tokens,
        }
    }

    /// Groups of 16 tokens.
    fn groups(&self) -> usize {
        self.tokens.len().div_ceil(SIDE)
    }

    /// Tiles of a group from a step on.
    fn tiles(&self, group: usize, steps: Range<usize>) -> &[Tile] {
        &self.tiles[group * self.steps..][steps]
    }
}

/// Computes up to 32 rows for all tokens. `weights` holds a panel of decoded codes
/// `[step][row / 16]`, `sums` the accumulators `[token / 16][row / 16]`.
///
/// # Safety
/// AVX-512 BW is available and `multiply` can run, `rows` is inside the job, and no other task
/// writes its outputs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn strip(
    job: &W2A8Job<'_>,
    activations: &Activations,
    rows: Range<usize>,
    weights: &mut [Tile],
    sums: &mut [Tile],
    multiply: Multiply,
) {
    sums.fill(EMPTY);
    let blocks = job.planes.blocks();
    for first in (0..blocks).step_by(PANEL) {
        let panel = first..(first + PANEL).min(blocks);
        for (r, row) in rows.clone().enumerate() {
            // SAFETY: the row is inside the job.
            unsafe { decode(job, row, r, panel.clone(), weights) };
        }
        let steps = 4 * panel.start..4 * panel.end;
        let weights = &weights[..2 * steps.len()];
        for pair in (0..activations.groups()).step_by(2) {
            let last = (pair + 1).min(activations.groups() - 1);
            let groups = [pair, last].map(|group| activations.tiles(group, steps.clone()));
            let sums = &mut sums[2 * pair..2 * (last + 1)];
            // SAFETY: the caller's promise; each operand has a tile a step.
            unsafe { multiply(weights, groups, sums) };
        }
    }
    for (at, token) in activations.tokens.clone().enumerate() {
        let group = 2 * (at / SIDE);
        for (half, first) in rows.clone().step_by(SIDE).enumerate() {
            let (cells, _) = sums[group + half].0.as_chunks::<4>();
            let cell = |r: usize| i32::from_le_bytes(cells[r * SIDE + at % SIDE]);
            let count = SIDE.min(rows.end - first);
            for r in (0..count / 4 * 4).step_by(4) {
                let raw = [cell(r), cell(r + 1), cell(r + 2), cell(r + 3)];
                // SAFETY: the caller's promise.
                unsafe { job.store(token, first + r, raw) };
            }
            for r in count / 4 * 4..count {
                // SAFETY: the caller's promise.
                unsafe { job.store(token, first + r, [cell(r)]) };
            }
        }
    }
}

/// Decodes the blocks of `panel` of one weight row into row `r` of the strip's tiles.
///
/// # Safety
/// AVX-512 BW is available and `row` is inside the job.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn decode(
    job: &W2A8Job<'_>,
    row: usize,
    r: usize,
    panel: Range<usize>,
    weights: &mut [Tile],
) {
    let words = job.row(row);
    let mask = _mm512_set1_epi8(3);
    for (at, block) in panel.enumerate() {
        let done = block * SIDE;
        let valid = (job.words_per_row - done).min(SIDE);
        // SAFETY: lanes past the end of the row are masked off.
        let raw = unsafe {
            _mm512_maskz_loadu_epi32(((1u32 << valid) - 1) as u16, words.add(done).cast())
        };
        let planes = [
            raw,
            _mm512_srli_epi16::<2>(raw),
            _mm512_srli_epi16::<4>(raw),
            _mm512_srli_epi16::<6>(raw),
        ];
        for (plane, codes) in planes.into_iter().enumerate() {
            let tile = &mut weights[(4 * at + plane) * 2 + r / SIDE].0;
            let line = &mut tile[r % SIDE * PLANE..][..PLANE];
            // SAFETY: the line has 64 bytes.
            unsafe { _mm512_storeu_si512(line.as_mut_ptr().cast(), _mm512_and_si512(codes, mask)) };
        }
    }
}
