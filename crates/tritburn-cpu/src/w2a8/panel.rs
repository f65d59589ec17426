//! Many tokens on AVX2: codes are decoded once, to bytes, for all tokens of a task.
//!
//! Decoding a vector of codes costs about as much as multiplying it by one token. So a strip of 16
//! rows by 1280 inputs is decoded into 20 KiB, in the order of the activations, and stays in the
//! level-1 cache while the tokens pass over it, eight at a time. A vector of codes is loaded once
//! for eight tokens, whose activations are memory operands of `vpmaddubsw`: two instructions for
//! 32 products, which is where Zen 3 saturates.
//!
//! ```text
//! panels of inputs (1280): as many as i16 sums can hold
//!   strips of rows (16): decode
//!     groups of tokens (8)
//!       rows: multiply, add to the sums of the panels before
//! ```

use std::arch::x86_64::*;
use std::ops::Range;

use rayon::prelude::*;

use super::avx2;
use super::job::W2A8Job;
use crate::parallel;
use crate::planes::{BLOCK, Planes};

/// Bytes of a vector, one an input when decoded.
const VECTOR: usize = 32;
/// Sums of 32 bits in a vector.
const LANES: usize = 8;
/// Vectors of a block.
const BLOCK_VECTORS: usize = BLOCK / VECTOR;
/// Blocks of 256 inputs in a panel. `vpmaddubsw` adds two products of at most 3·128 = 384 in size:
/// the i16 sums of 40 vectors stay within 40·768 = 30,720, those of 43 would not.
const PANEL: usize = 5;
/// Rows of a strip.
const STRIP: usize = 16;
/// Tokens of a group: as many sums, a vector of codes and a product in 16 registers.
const GROUP: usize = 8;
/// Rows of one task.
const TASK_ROWS: usize = 128;

/// From this many tokens on, decoding to bytes pays.
pub(super) const MIN_TOKENS: usize = 12;

/// Decoded codes of a panel of a row: plane `i` of block `b` is in vectors `8·b + 2·i` and one on.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Row([[u8; VECTOR]; PANEL * BLOCK_VECTORS]);

/// `Σ q·code` of a strip's rows for a group's tokens.
type Sums = [[i32; GROUP]; STRIP];

/// Computes the outputs of all rows, which have one scale each, and of some tokens.
///
/// # Safety
/// AVX2 is available, the tokens are inside the job, and nobody else writes these outputs.
pub(super) unsafe fn run(job: &W2A8Job<'_>, tokens: Range<usize>, parallel: bool) {
    let activations = Activations::new(job.planes, tokens, parallel);
    parallel::for_ranges(parallel, job.out_features(), STRIP, TASK_ROWS, |rows| {
        // SAFETY: the caller's promise; tasks own disjoint rows.
        unsafe { task(job, &activations, rows) }
    });
}

/// A vector of each token of a group.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Cell([[u8; VECTOR]; GROUP]);

/// Activations as they are multiplied, `[token / 8][input / 32][token % 8]`.
struct Activations {
    cells: Vec<Cell>,
    vectors: usize,
    tokens: Range<usize>,
}

impl Activations {
    fn new(planes: &Planes, tokens: Range<usize>, parallel: bool) -> Self {
        let vectors = planes.blocks() * BLOCK_VECTORS;
        let mut cells = vec![Cell([[0; VECTOR]; GROUP]); tokens.len().div_ceil(GROUP) * vectors];
        let fill = |(group, cells): (usize, &mut [Cell])| {
            let first = tokens.start + group * GROUP;
            for token in first..tokens.end.min(first + GROUP) {
                for (line, cells) in cells.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                    let (halves, _) = planes.line(token, line).as_chunks();
                    cells[0].0[token - first] = halves[0];
                    cells[1].0[token - first] = halves[1];
                }
            }
        };
        match parallel {
            true => cells
                .par_chunks_exact_mut(vectors)
                .enumerate()
                .for_each(fill),
            false => cells.chunks_exact_mut(vectors).enumerate().for_each(fill),
        }
        Self {
            cells,
            vectors,
            tokens,
        }
    }
}

/// Computes the outputs of some rows for all tokens.
///
/// # Safety
/// AVX2 is available, the rows are inside the job, and no other task writes their outputs.
#[target_feature(enable = "avx2")]
unsafe fn task(job: &W2A8Job<'_>, activations: &Activations, rows: Range<usize>) {
    let blocks = job.planes.blocks();
    let mut strip = [const { Row([[0; VECTOR]; PANEL * BLOCK_VECTORS]) }; STRIP];
    let groups = activations.tokens.len().div_ceil(GROUP);
    let mut sums = vec![[[0; GROUP]; STRIP]; groups * rows.len().div_ceil(STRIP)];
    for block in (0..blocks).step_by(PANEL) {
        let panel = block..(block + PANEL).min(blocks);
        let vectors = block * BLOCK_VECTORS..panel.end * BLOCK_VECTORS;
        let strips = sums.chunks_exact_mut(groups);
        for (row, sums) in rows.clone().step_by(STRIP).zip(strips) {
            let rows = row..(row + STRIP).min(rows.end);
            for (strip, row) in strip.iter_mut().zip(rows.clone()) {
                // SAFETY: the row and the blocks are inside the job.
                unsafe { decode(job, row, panel.clone(), strip) };
            }
            let strip = &strip[..rows.len()];
            let cells = activations.cells.chunks_exact(activations.vectors);
            let tokens = activations.tokens.clone().step_by(GROUP);
            for ((token, cells), sums) in tokens.zip(cells).zip(sums) {
                let group = token..(token + GROUP).min(activations.tokens.end);
                // SAFETY: the caller's promise; the strip and the cells hold the same vectors.
                unsafe {
                    multiply(strip, &cells[vectors.clone()], group.len(), sums, block > 0);
                    if panel.end == blocks {
                        store(job, rows.clone(), group, sums);
                    }
                }
            }
        }
    }
}

/// Decodes the blocks of `panel` of a row, zero past its end.
///
/// # Safety
/// AVX2 is available, the row and the blocks are inside the job.
#[target_feature(enable = "avx2")]
unsafe fn decode(job: &W2A8Job<'_>, row: usize, panel: Range<usize>, to: &mut Row) {
    const WORDS: usize = VECTOR / 4;
    let (from, words) = (job.row(row), job.words_per_row);
    let (blocks, _) = to.0.as_chunks_mut::<BLOCK_VECTORS>();
    for (block, to) in panel.zip(blocks) {
        // The codes of a block are a cache line, which the next strip needs STRIP rows further on.
        let ahead = from.wrapping_add(STRIP * words + 2 * block * WORDS);
        _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
        for half in 0..2 {
            let done = (2 * block + half) * WORDS;
            // SAFETY: words are only read up to the end of the row; a vector has 32 bytes.
            unsafe {
                let raw = match words.saturating_sub(done) {
                    0 => _mm256_setzero_si256(),
                    left @ 1..WORDS => avx2::load_part(from.add(done), left),
                    WORDS.. => avx2::load(from.add(done)),
                };
                for (plane, codes) in avx2::decode(raw).into_iter().enumerate() {
                    _mm256_store_si256(to[2 * plane + half].as_mut_ptr().cast(), codes);
                }
            }
        }
    }
}

/// Multiplies a strip by `tokens` tokens of a group. `add` says whether `sums` hold those of other
/// panels.
///
/// # Safety
/// AVX2 is available, and the rows of `strip` hold codes of at most 3.
#[target_feature(enable = "avx2")]
unsafe fn multiply(strip: &[Row], cells: &[Cell], tokens: usize, sums: &mut Sums, add: bool) {
    for (row, sums) in strip.iter().zip(sums) {
        // SAFETY: the caller's promise; sums are a vector.
        unsafe {
            let panel = match tokens {
                1 => dot::<1>(row, cells),
                2 => dot::<2>(row, cells),
                3 => dot::<3>(row, cells),
                4 => dot::<4>(row, cells),
                5 => dot::<5>(row, cells),
                6 => dot::<6>(row, cells),
                7 => dot::<7>(row, cells),
                _ => dot::<GROUP>(row, cells),
            };
            let sums = sums.as_mut_ptr().cast();
            let before = match add {
                true => _mm256_loadu_si256(sums),
                false => _mm256_setzero_si256(),
            };
            _mm256_storeu_si256(sums, _mm256_add_epi32(before, panel));
        }
    }
}

/// Sums of a row for `T` tokens over the cells of a panel.
///
/// # Safety
/// Needs AVX2; codes are at most 3.
#[inline(always)]
unsafe fn dot<const T: usize>(row: &Row, cells: &[Cell]) -> __m256i {
    // SAFETY: the caller's promise; rows and cells are aligned.
    unsafe {
        let mut sums = [_mm256_setzero_si256(); GROUP];
        // Two at a time: the counter of the loop costs less.
        let (codes, _) = row.0.as_chunks::<2>();
        let (cells, _) = cells.as_chunks::<2>();
        for (codes, cells) in codes.iter().zip(cells) {
            for v in 0..2 {
                let codes = _mm256_load_si256(codes[v].as_ptr().cast());
                for t in 0..T {
                    let x = _mm256_load_si256(cells[v].0[t].as_ptr().cast());
                    sums[t] = _mm256_add_epi16(sums[t], _mm256_maddubs_epi16(codes, x));
                }
            }
        }
        let ones = _mm256_set1_epi16(1);
        for t in 0..T {
            sums[t] = _mm256_madd_epi16(sums[t], ones);
        }
        let low = avx2::quad([sums[0], sums[1], sums[2], sums[3]]);
        let high = avx2::quad([sums[4], sums[5], sums[6], sums[7]]);
        _mm256_add_epi32(
            _mm256_permute2x128_si256::<0x20>(low, high),
            _mm256_permute2x128_si256::<0x31>(low, high),
        )
    }
}

/// Finishes the outputs of a strip's rows for a group of tokens.
///
/// # Safety
/// Rows and tokens are inside the job, and no other task writes their outputs.
#[target_feature(enable = "avx2")]
unsafe fn store(job: &W2A8Job<'_>, rows: Range<usize>, tokens: Range<usize>, sums: &Sums) {
    let mut columns = [[0; STRIP]; GROUP];
    let (halves, _) = sums.as_chunks::<LANES>();
    for (half, sums) in halves.iter().enumerate() {
        let mut rows = [_mm256_setzero_si256(); LANES];
        for (row, sums) in rows.iter_mut().zip(sums) {
            // SAFETY: the sums of a row are a vector.
            *row = unsafe { _mm256_loadu_si256(sums.as_ptr().cast()) };
        }
        for (column, sums) in columns.iter_mut().zip(transpose(rows)) {
            let column = &mut column[LANES * half..][..LANES];
            // SAFETY: the part of the column is a vector.
            unsafe { _mm256_storeu_si256(column.as_mut_ptr().cast(), sums) };
        }
    }
    for (token, column) in tokens.zip(columns) {
        // SAFETY: the caller's promise.
        unsafe {
            if rows.len() == STRIP {
                job.store(token, rows.start, column);
            } else {
                for (row, raw) in rows.clone().zip(column) {
                    job.store(token, row, [raw]);
                }
            }
        }
    }
}

/// The columns of eight rows.
#[target_feature(enable = "avx2")]
fn transpose(rows: [__m256i; LANES]) -> [__m256i; LANES] {
    let zero = _mm256_setzero_si256();
    let (mut pairs, mut quads, mut columns) = ([zero; LANES], [zero; LANES], [zero; LANES]);
    for i in [0, 2, 4, 6] {
        pairs[i] = _mm256_unpacklo_epi32(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    for i in [0, 4] {
        quads[i] = _mm256_unpacklo_epi64(pairs[i], pairs[i + 2]);
        quads[i + 1] = _mm256_unpackhi_epi64(pairs[i], pairs[i + 2]);
        quads[i + 2] = _mm256_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        quads[i + 3] = _mm256_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    for i in 0..4 {
        columns[i] = _mm256_permute2x128_si256::<0x20>(quads[i], quads[i + 4]);
        columns[i + 4] = _mm256_permute2x128_si256::<0x31>(quads[i], quads[i + 4]);
    }
    columns
}
