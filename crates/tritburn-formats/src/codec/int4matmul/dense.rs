//! All codes, one after the other.

use half::f16;
use rayon::prelude::*;

use super::matrix::check_shape;
use super::{Bits, FORMAT, IntMatrix, UNIT};
use crate::codec::{CodecError, check};

/// Rows that are unpacked together: their words are a cache line.
const ROWS: usize = 16;

/// Reads words `[in · bits / 32, out]`, and scales and zeros `[groups, out]`. With b bits, code `j`
/// of every 32 inputs is bits `b·j..` of a string over b words of the same column.
///
/// # Errors
/// As [`IntMatrix::new`].
pub fn decode(
    words: &[u32],
    [out_features, in_features]: [usize; 2],
    bits: Bits,
    group_size: Option<usize>,
    scales: Vec<f16>,
    zeros: Vec<f16>,
) -> Result<IntMatrix, CodecError> {
    check_shape(out_features, in_features, group_size)?;
    let stored_rows = in_features / UNIT * bits.words();
    check::length(FORMAT, "words", words.len(), stored_rows, out_features)?;
    let codes = match bits {
        Bits::Two => unpack::<2>(words, out_features, in_features),
        Bits::Three => unpack::<3>(words, out_features, in_features),
        Bits::Four => unpack::<4>(words, out_features, in_features),
    };
    let shape = [out_features, in_features];
    IntMatrix::new(shape, bits, group_size, codes, scales, zeros)
}

/// Words `[in · bits / 32, out]` of the codes; scales and zeros are stored as they are.
pub fn encode(matrix: &IntMatrix) -> Vec<u32> {
    match matrix.bits() {
        Bits::Two => pack::<2>(matrix),
        Bits::Three => pack::<3>(matrix),
        Bits::Four => pack::<4>(matrix),
    }
}

fn unpack<const BITS: usize>(words: &[u32], n: usize, k: usize) -> Vec<u8> {
    // No overflow: every 32 codes come from words that are there.
    let mut codes = vec![0; n * k];
    codes
        .par_chunks_mut(ROWS * k)
        .enumerate()
        .for_each(|(block, codes)| {
            for (unit, words) in words.chunks_exact(BITS * n).enumerate() {
                for (row, codes) in codes.chunks_exact_mut(k).enumerate() {
                    let column = block * ROWS + row;
                    let string = std::array::from_fn(|w| words[w * n + column]);
                    let codes = &mut codes[unit * UNIT..][..UNIT];
                    codes.copy_from_slice(&from_string::<BITS>(string));
                }
            }
        });
    codes
}

fn pack<const BITS: usize>(matrix: &IntMatrix) -> Vec<u32> {
    let (n, k) = (matrix.out_features(), matrix.in_features());
    let mut words = vec![0; k / UNIT * BITS * n];
    words
        .par_chunks_mut(BITS * n)
        .enumerate()
        .for_each(|(unit, words)| {
            for (column, row) in matrix.codes().chunks_exact(k).enumerate() {
                let (codes, _) = row[unit * UNIT..].as_chunks();
                let string = to_string::<BITS>(&codes[0]);
                for (w, word) in string.into_iter().enumerate() {
                    words[w * n + column] = word;
                }
            }
        });
    words
}

#[inline(always)]
fn from_string<const BITS: usize>(words: [u32; BITS]) -> [u8; UNIT] {
    let mask = (1 << BITS) - 1;
    std::array::from_fn(|j| {
        let (word, shift) = (BITS * j / 32, BITS * j % 32);
        let next = words.get(word + 1).copied().unwrap_or(0);
        let both = u64::from(words[word]) | u64::from(next) << 32;
        (both >> shift) as u8 & mask
    })
}

#[inline(always)]
fn to_string<const BITS: usize>(codes: &[u8; UNIT]) -> [u32; BITS] {
    let mut words = [0; BITS];
    for (j, &code) in codes.iter().enumerate() {
        let (word, shift) = (BITS * j / 32, BITS * j % 32);
        let both = u64::from(code) << shift;
        words[word] |= both as u32;
        if let Some(next) = words.get_mut(word + 1) {
            *next |= (both >> 32) as u32;
        }
    }
    words
}
