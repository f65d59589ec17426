//! Packed weights with their scales.

use rayon::prelude::*;

use crate::code::WeightCode;
use crate::error::{MatrixError, check_length};
use crate::fields::threes;
use crate::header::PackedHeader;
use crate::layout::{PackedLayout, WEIGHTS_PER_WORD};

mod concat;
mod refine;
pub(crate) mod reorder;
mod zero_scale;

pub use concat::{concat_rows, split_rows};
#[doc(hidden)]
pub use reorder::reorder_dense_rows;
pub use reorder::{reorder_rows, rotary_half_split, rotary_interleaved};

/// A packed `[out, in]` weight matrix in the canonical layout: words, scales and what they mean.
///
/// Codes of the real columns are valid for the code table. Padding fields behind the last column
/// of a row are ignored (they meet zero activations), whatever they hold. Scales may be any f32:
/// NaN marks weights that were not finite.
///
/// # Examples
///
/// ```
/// use tritburn_formats::{PackedLayout, PackedMatrix, ScaleGranularity, WeightCode};
///
/// // Two rows of three weights in a word each: codes 2, 1, 0 are +1, 0, -1; unused fields are 1.
/// let layout = PackedLayout::new(2, 3, WeightCode::Ternary, ScaleGranularity::Row)?;
/// let (first, second) = (0x5555_5540 | 0b00_01_10, 0x5555_5540 | 0b10_10_10);
/// let matrix = PackedMatrix::new(layout, vec![first, second], vec![0.5, 2.0])?;
/// assert_eq!(matrix.dequantize(), [0.5, 0.0, -0.5, 2.0, 2.0, 2.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PackedMatrix {
    layout: PackedLayout,
    words: Vec<u32>,
    scales: Vec<f32>,
}

impl PackedMatrix {
    /// A matrix from its `[out, ceil(in / 16)]` words and
    /// [`scale_count`](PackedLayout::scale_count) scales.
    ///
    /// # Errors
    /// [`MatrixError::Length`] for a wrong number of words or scales, [`MatrixError::InvalidCode`] for
    /// the first ternary code 3 in a real column.
    pub fn new(
        layout: PackedLayout,
        words: Vec<u32>,
        scales: Vec<f32>,
    ) -> Result<Self, MatrixError> {
        check_length("packed words", words.len(), layout.word_count())?;
        check_length("scales", scales.len(), layout.scale_count())?;
        if layout.code() == WeightCode::Ternary {
            refuse_code_3(&layout, &words)?;
        }
        Ok(Self {
            layout,
            words,
            scales,
        })
    }

    /// A matrix whose parts are right by construction.
    pub(crate) fn from_quantizer(layout: PackedLayout, words: Vec<u32>, scales: Vec<f32>) -> Self {
        Self {
            layout,
            words,
            scales,
        }
    }

    /// Shape, code table and scale granularity.
    pub fn layout(&self) -> &PackedLayout {
        &self.layout
    }

    /// The header to store beside the words.
    pub fn header(&self) -> PackedHeader {
        PackedHeader::new(self.layout.clone())
    }

    /// Row-major `[out, ceil(in / 16)]` words.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// The scales, in the order of [`ScaleGranularity`](crate::ScaleGranularity).
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// Layout, words and scales.
    pub fn into_parts(self) -> (PackedLayout, Vec<u32>, Vec<f32>) {
        (self.layout, self.words, self.scales)
    }

    /// Stored code of weight `[row, col]`; `None` outside of the matrix.
    pub fn code(&self, row: usize, col: usize) -> Option<u32> {
        if row >= self.layout.out_features() || col >= self.layout.in_features() {
            return None;
        }
        let word = self.words[row * self.layout.words_per_row() + col / WEIGHTS_PER_WORD];
        Some(word >> (2 * (col % WEIGHTS_PER_WORD)) & 3)
    }

    /// Integer value of weight `[row, col]`, see [`WeightCode::value`]; `None` outside of the
    /// matrix.
    pub fn value(&self, row: usize, col: usize) -> Option<i32> {
        self.code(row, col)
            .map(|code| self.layout.code().value(code))
    }

    /// Stored codes, row-major `[out, in]`, padding dropped.
    pub fn codes(&self) -> Vec<u8> {
        codes_of(&self.words, &self.layout)
    }

    /// The real weights, row-major `[out, in]`: `value as f32 · (unit · scale)`.
    pub fn dequantize(&self) -> Vec<f32> {
        let (k, span) = (self.layout.in_features(), self.layout.scale_span());
        let code = self.layout.code();
        let mut weights = vec![0.0; self.layout.weight_count()];
        weights
            .par_chunks_mut(k)
            .zip(self.words.par_chunks(self.layout.words_per_row()))
            .enumerate()
            .for_each(|(row, (weights, words))| {
                let first = self.layout.scale().index(row, 0, k);
                let spans = words.chunks(span.div_ceil(WEIGHTS_PER_WORD));
                for (g, (weights, words)) in weights.chunks_mut(span).zip(spans).enumerate() {
                    let step = code.unit() * self.scales[first + g];
                    let levels = [0, 1, 2, 3].map(|c| code.value(c) as f32 * step);
                    for_each_code(words, weights, |c| levels[c as usize]);
                }
            });
        weights
    }
}

/// Packs codes, row-major `[out, in]` with one byte each, into `[out, ceil(in / 16)]` words. Only
/// the two low bits of a byte count; padding becomes [`WeightCode::PADDING`].
///
/// # Errors
/// [`MatrixError::Length`] if `codes` is not `out · in` long.
pub fn pack_codes(codes: &[u8], layout: &PackedLayout) -> Result<Vec<u32>, MatrixError> {
    check_length("codes", codes.len(), layout.weight_count())?;
    let mut words = vec![0; layout.word_count()];
    words
        .par_chunks_mut(layout.words_per_row())
        .zip(codes.par_chunks(layout.in_features()))
        .for_each(|(words, codes)| {
            for (word, codes) in words.iter_mut().zip(codes.chunks(WEIGHTS_PER_WORD)) {
                *word = pack_word(codes);
            }
        });
    Ok(words)
}

fn pack_word(codes: &[u8]) -> u32 {
    let mut fields = [WeightCode::PADDING as u8; WEIGHTS_PER_WORD];
    fields[..codes.len()].copy_from_slice(codes);
    fields
        .iter()
        .enumerate()
        .fold(0, |word, (i, &code)| word | (code as u32 & 3) << (2 * i))
}

/// The codes inside `[out, ceil(in / 16)]` words, row-major `[out, in]`, padding dropped.
///
/// # Errors
/// [`MatrixError::Length`] if `words` is not [`word_count`](PackedLayout::word_count) long.
pub fn unpack_codes(words: &[u32], layout: &PackedLayout) -> Result<Vec<u8>, MatrixError> {
    check_length("packed words", words.len(), layout.word_count())?;
    Ok(codes_of(words, layout))
}

fn codes_of(words: &[u32], layout: &PackedLayout) -> Vec<u8> {
    let mut codes = vec![0; layout.weight_count()];
    codes
        .par_chunks_mut(layout.in_features())
        .zip(words.par_chunks(layout.words_per_row()))
        .for_each(|(codes, words)| for_each_code(words, codes, |c| c as u8));
    codes
}

/// Writes `f(code)` for the first `out.len()` codes of `words`.
fn for_each_code<T>(words: &[u32], out: &mut [T], f: impl Fn(u32) -> T) {
    for (out, &word) in out.chunks_mut(WEIGHTS_PER_WORD).zip(words) {
        for (i, out) in out.iter_mut().enumerate() {
            *out = f(word >> (2 * i) & 3);
        }
    }
}

fn refuse_code_3(layout: &PackedLayout, words: &[u32]) -> Result<(), MatrixError> {
    let words_per_row = layout.words_per_row();
    let in_last = layout.in_features() - (words_per_row - 1) * WEIGHTS_PER_WORD;
    let last_mask = u32::MAX >> (32 - 2 * in_last);
    let bad = words
        .par_chunks(words_per_row)
        .with_min_len((1usize << 14).div_ceil(words_per_row))
        .enumerate()
        .find_map_first(|(row, words)| {
            let (last, full) = words.split_last()?;
            let any = full
                .iter()
                .fold(threes(last & last_mask), |any, &w| any | threes(w));
            if any == 0 {
                return None;
            }
            let col = words.iter().enumerate().find_map(|(j, &word)| {
                let found = threes(word);
                (found != 0).then(|| j * WEIGHTS_PER_WORD + found.trailing_zeros() as usize / 2)
            })?;
            Some((row, col))
        });
    match bad {
        None => Ok(()),
        Some((row, col)) => Err(MatrixError::InvalidCode {
            row,
            col,
            code: 3,
            table: layout.code(),
        }),
    }
}
