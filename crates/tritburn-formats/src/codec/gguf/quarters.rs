//! Blocks of bytes whose four fields are the quarters of a run of weights.

use crate::codec::byte_rows::{gather_word, spread_words};

/// Bit of each quarter.
pub(super) type Shifts = [u32; 4];

/// First quarter in the low bits.
pub(super) const LOW_FIRST: Shifts = [0, 2, 4, 6];

/// First quarter in the high bits.
pub(super) const HIGH_FIRST: Shifts = [6, 4, 2, 0];

/// The words of a block: four times as many weights as there are `bytes`, a multiple of 16.
#[inline(always)]
pub(super) fn decode(bytes: &[u8], shifts: Shifts, words: &mut [u32]) {
    let (bytes, _) = bytes.as_chunks::<16>();
    for (words, shift) in words.chunks_exact_mut(bytes.len()).zip(shifts) {
        for (word, bytes) in words.iter_mut().zip(bytes) {
            *word = gather_word(bytes, shift);
        }
    }
}

/// The inverse of [`decode`].
#[inline(always)]
pub(super) fn encode(words: &[u32], shifts: Shifts, bytes: &mut [u8]) {
    let (bytes, _) = bytes.as_chunks_mut::<16>();
    let quarter = bytes.len();
    for (i, bytes) in bytes.iter_mut().enumerate() {
        let mut fields = [0; 4];
        for (q, shift) in shifts.into_iter().enumerate() {
            fields[shift as usize / 2] = words[q * quarter + i];
        }
        *bytes = spread_words(fields);
    }
}
