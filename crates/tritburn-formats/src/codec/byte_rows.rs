//! Layouts in which one byte holds the same column of four rows.

use rayon::prelude::*;

use super::check;
use crate::code::WeightCode;
use crate::fields::{gather_fields, spread_fields};
use crate::layout::{PackedLayout, WEIGHTS_PER_WORD};
use crate::matrix::PackedMatrix;
use crate::simd::multiversion;

/// Words of a matrix whose row `n` is field `field(n).1` of the bytes of byte row `field(n).0`.
/// There are `in_features` bytes in a byte row.
pub(super) fn decode(
    bytes: &[u8],
    layout: &PackedLayout,
    field: impl Fn(usize) -> (usize, u32) + Sync,
) -> Vec<u32> {
    let k = layout.in_features();
    let mut words = vec![0; layout.word_count()];
    words
        .par_chunks_mut(layout.words_per_row())
        .with_min_len(check::rows_per_task(k))
        .enumerate()
        .for_each(|(row, words)| {
            let (byte_row, field) = field(row);
            gather_row(&bytes[byte_row * k..][..k], 2 * field, words);
        });
    words
}

/// The inverse of [`decode`]: field `f` of byte row `r` holds row `rows(r)[f]`, or code 0 where the
/// matrix has no such row.
pub(super) fn encode(
    matrix: &PackedMatrix,
    byte_rows: usize,
    rows: impl Fn(usize) -> [usize; 4] + Sync,
) -> Vec<u8> {
    let (k, words_per_row) = (
        matrix.layout().in_features(),
        matrix.layout().words_per_row(),
    );
    let (words, absent) = (matrix.words(), vec![0; words_per_row]);
    let mut bytes = vec![0; byte_rows * k];
    bytes
        .par_chunks_mut(k)
        .with_min_len(check::rows_per_task(k))
        .enumerate()
        .for_each(|(byte_row, bytes)| {
            let sources = rows(byte_row).map(|row| {
                let start = row * words_per_row;
                words.get(start..start + words_per_row).unwrap_or(&absent)
            });
            spread_rows(&sources, bytes);
        });
    bytes
}

/// 16 fields at `shift` of 16 bytes.
#[inline(always)]
pub(super) fn gather_word(bytes: &[u8; 16], shift: u32) -> u32 {
    const FIRST: u64 = 0x0303_0303_0303_0303;
    let both = u128::from_le_bytes(*bytes);
    let [low, high] = [both as u64, (both >> 64) as u64].map(|x| gather_fields(x >> shift & FIRST));
    low | high << 16
}

/// The inverse of [`gather_word`] for all four fields of the bytes.
#[inline(always)]
pub(super) fn spread_words(words: [u32; 4]) -> [u8; 16] {
    let mut halves = [0, 0];
    for (field, word) in words.into_iter().enumerate() {
        halves[0] |= spread_fields(word) << (2 * field);
        halves[1] |= spread_fields(word >> 16) << (2 * field);
    }
    (u128::from(halves[0]) | u128::from(halves[1]) << 64).to_le_bytes()
}

multiversion! {
    fn gather_row(bytes: &[u8], shift: u32, words: &mut [u32]) = gather_row_generic;
}

#[inline(always)]
fn gather_row_generic(bytes: &[u8], shift: u32, words: &mut [u32]) {
    let (full, rest) = bytes.as_chunks::<WEIGHTS_PER_WORD>();
    for (word, bytes) in words.iter_mut().zip(full) {
        *word = gather_word(bytes, shift);
    }
    if let (Some(word), false) = (words.last_mut(), rest.is_empty()) {
        let mut last = [(WeightCode::PADDING as u8) << shift; WEIGHTS_PER_WORD];
        last[..rest.len()].copy_from_slice(rest);
        *word = gather_word(&last, shift);
    }
}

multiversion! {
    fn spread_rows(rows: &[&[u32]; 4], bytes: &mut [u8]) = spread_rows_generic;
}

#[inline(always)]
fn spread_rows_generic(rows: &[&[u32]; 4], bytes: &mut [u8]) {
    let [a, b, c, d] = rows;
    let words = a.iter().zip(*b).zip(*c).zip(*d);
    let mut words = words.map(|(((&a, &b), &c), &d)| spread_words([a, b, c, d]));
    let (full, rest) = bytes.as_chunks_mut::<WEIGHTS_PER_WORD>();
    for (bytes, spread) in full.iter_mut().zip(&mut words) {
        *bytes = spread;
    }
    if let Some(spread) = words.next() {
        rest.copy_from_slice(&spread[..rest.len()]);
    }
}
