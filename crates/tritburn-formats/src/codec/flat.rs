//! Formats that number the weights of a matrix through, `i = row · in + col`, and do not start a
//! row on a new word.

use std::borrow::Cow;

use rayon::prelude::*;

use super::check::{ZEROS, last_word_mask, rows_per_task};
use crate::layout::{PackedLayout, WEIGHTS_PER_WORD};
use crate::matrix::PackedMatrix;

/// Words that hold `weights` numbered through.
pub(super) fn word_count(weights: usize) -> usize {
    weights.div_ceil(WEIGHTS_PER_WORD)
}

/// Rows on words of their own, from `flat` words numbered through.
pub(super) fn to_rows(flat: Vec<u32>, layout: &PackedLayout) -> Vec<u32> {
    let k = layout.in_features();
    if k.is_multiple_of(WEIGHTS_PER_WORD) {
        return flat;
    }
    let mask = last_word_mask(k);
    let mut words = vec![0; layout.word_count()];
    words
        .par_chunks_mut(layout.words_per_row())
        .with_min_len(rows_per_task(k))
        .enumerate()
        .for_each(|(row, words)| {
            let (start, shift) = split(row * k);
            let from = |i: usize| u64::from(flat.get(i).copied().unwrap_or(0));
            for (j, word) in words.iter_mut().enumerate() {
                *word = ((from(start + j) | from(start + j + 1) << 32) >> shift) as u32;
            }
            if let Some(last) = words.last_mut() {
                *last = *last & mask | ZEROS & !mask;
            }
        });
    words
}

/// The inverse of [`to_rows`]; fields behind the last weight are zero weights.
pub(super) fn from_rows(matrix: &PackedMatrix) -> Cow<'_, [u32]> {
    let k = matrix.layout().in_features();
    if k.is_multiple_of(WEIGHTS_PER_WORD) {
        return Cow::Borrowed(matrix.words());
    }
    let weights = matrix.layout().weight_count();
    let mask = last_word_mask(k);
    // One more word than needed takes the (empty) upper half of the last one.
    let mut flat = vec![0; word_count(weights) + 1];
    for (row, words) in matrix
        .words()
        .chunks(matrix.layout().words_per_row())
        .enumerate()
    {
        let (start, shift) = split(row * k);
        for (j, &word) in words.iter().enumerate() {
            let word = if j + 1 == words.len() {
                word & mask
            } else {
                word
            };
            let both = u64::from(word) << shift;
            flat[start + j] |= both as u32;
            flat[start + j + 1] |= (both >> 32) as u32;
        }
    }
    flat.truncate(word_count(weights));
    if let Some(last) = flat.last_mut() {
        *last |= ZEROS & !last_word_mask(weights);
    }
    Cow::Owned(flat)
}

/// Word and bit of weight `i`.
fn split(i: usize) -> (usize, usize) {
    (i / WEIGHTS_PER_WORD, 2 * (i % WEIGHTS_PER_WORD))
}
