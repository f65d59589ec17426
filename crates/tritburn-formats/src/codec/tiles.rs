//! Word orders of tensor-core tiles: BitNet's GPU kernels and BitMedViT's.
//!
//! All share one word, 16 consecutive columns of a row, column `c` at bit `8·(c % 4) + 2·(c / 4)`,
//! `code = w + 2`; and in all of them the words of eight neighbouring rows are neighbours.

use rayon::prelude::*;

use super::{CodecError, check};
use crate::fields::{minus_one, plus_one, transpose_fields};
use crate::layout::PackedLayout;
use crate::matrix::PackedMatrix;
use crate::simd::multiversion;

/// Rows whose words lie side by side.
const ROWS: usize = 8;

/// Order of the words, named by the M × N × K of the tensor-core tile. For the word of row `n`,
/// columns `16j..`, with `J = in / 16`:
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tile {
    /// 16-row by 32-column blocks: word `32·((n/16)·(J/2) + j/2) + 16·((n%16)/8) + 8·(j%2) + n%8`.
    /// `out` is a multiple of 16, `in` of 32.
    M16N16K16,
    /// 32-row by 16-column tiles, rows 0-7, 16-23, 8-15, 24-31: word
    /// `32·((n/32)·J + j) + 16·((n%16)/8) + 8·((n%32)/16) + n%8`. The only one that BitMedViT's
    /// model uses. `out` and `in` are multiples of 32.
    #[default]
    M8N32K16,
    /// 8-row by 16-column tiles: word `8·((n/8)·J + j) + n%8`. `out` is a multiple of 16, `in` of
    /// 32.
    M32N8K16,
}

impl Tile {
    /// Rows that are stored together, before any word of the next ones.
    fn rows(self) -> usize {
        match self {
            Self::M16N16K16 => 16,
            Self::M8N32K16 => 32,
            Self::M32N8K16 => 8,
        }
    }

    /// Where the eight words of rows `8·group..` and columns `16·j..` start, within those rows.
    #[inline(always)]
    fn start(self, group: usize, j: usize) -> usize {
        match self {
            Self::M16N16K16 => 32 * (j / 2) + 16 * group + 8 * (j % 2),
            Self::M8N32K16 => 32 * j + 16 * (group % 2) + 8 * (group / 2),
            Self::M32N8K16 => 8 * j,
        }
    }

    /// Refuses sizes that the format's packer does not take.
    pub(super) fn check(
        self,
        format: &'static str,
        out_features: usize,
        in_features: usize,
    ) -> Result<(), CodecError> {
        let rows = self.rows().max(16);
        check::multiple(format, "out_features", out_features, rows)?;
        check::multiple(format, "in_features", in_features, 32)
    }
}

/// Canonical words of `bytes`, which are as many as the words have. A stored code 0 becomes 3.
pub(super) fn decode(bytes: &[u8], layout: &PackedLayout, tile: Tile) -> Vec<u32> {
    let (packed, _) = bytes.as_chunks::<4>();
    let words_per_row = layout.words_per_row();
    let mut words = vec![0; layout.word_count()];
    words
        .par_chunks_mut(tile.rows() * words_per_row)
        .with_min_len(tiles_per_task(tile, layout))
        .zip(packed.par_chunks(tile.rows() * words_per_row))
        .for_each(|(words, packed)| decode_rows(packed, words_per_row, tile, words));
    words
}

/// The inverse of [`decode`].
pub(super) fn encode(matrix: &PackedMatrix, tile: Tile) -> Vec<u8> {
    let words_per_row = matrix.layout().words_per_row();
    let mut bytes = vec![0; 4 * matrix.words().len()];
    bytes
        .par_chunks_mut(4 * tile.rows() * words_per_row)
        .with_min_len(tiles_per_task(tile, matrix.layout()))
        .zip(matrix.words().par_chunks(tile.rows() * words_per_row))
        .for_each(|(bytes, words)| {
            let (packed, _) = bytes.as_chunks_mut::<4>();
            encode_rows(words, words_per_row, tile, packed);
        });
    bytes
}

/// Runs of [`Tile::rows`] rows that make a task.
fn tiles_per_task(tile: Tile, layout: &PackedLayout) -> usize {
    check::rows_per_task(layout.in_features()).div_ceil(tile.rows())
}

multiversion! {
    fn decode_rows(packed: &[[u8; 4]], words_per_row: usize, tile: Tile, words: &mut [u32])
        = decode_rows_generic;
}

#[inline(always)]
fn decode_rows_generic(packed: &[[u8; 4]], words_per_row: usize, tile: Tile, words: &mut [u32]) {
    for (group, words) in words.chunks_exact_mut(ROWS * words_per_row).enumerate() {
        let mut rows = words.chunks_exact_mut(words_per_row);
        let mut rows: [&mut [u32]; ROWS] = std::array::from_fn(|_| rows.next().unwrap_or_default());
        for j in 0..words_per_row {
            let eight = &packed[tile.start(group, j)..][..ROWS];
            for (row, word) in rows.iter_mut().zip(eight) {
                row[j] = minus_one(transpose_fields(u32::from_le_bytes(*word)));
            }
        }
    }
}

multiversion! {
    fn encode_rows(words: &[u32], words_per_row: usize, tile: Tile, packed: &mut [[u8; 4]])
        = encode_rows_generic;
}

#[inline(always)]
fn encode_rows_generic(words: &[u32], words_per_row: usize, tile: Tile, packed: &mut [[u8; 4]]) {
    for (group, words) in words.chunks_exact(ROWS * words_per_row).enumerate() {
        let mut rows = words.chunks_exact(words_per_row);
        let rows: [&[u32]; ROWS] = std::array::from_fn(|_| rows.next().unwrap_or_default());
        for j in 0..words_per_row {
            let eight = &mut packed[tile.start(group, j)..][..ROWS];
            for (row, word) in rows.iter().zip(eight) {
                *word = transpose_fields(plus_one(row[j])).to_le_bytes();
            }
        }
    }
}
