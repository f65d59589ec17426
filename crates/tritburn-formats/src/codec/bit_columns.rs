//! Codes whose bit strings run along the inputs, in words `[in · bits / 32, out]`.

use rayon::prelude::*;

use crate::affine::{Bits, UNIT, read_unit, write_unit};

/// Rows that are unpacked together: their words are a cache line.
const ROWS: usize = 16;

/// Codes, row-major `[out, in]`, of words that hold as many.
pub(super) fn unpack(bits: Bits, words: &[u32], out: usize, k: usize) -> Vec<u8> {
    match bits {
        Bits::Two => unpack_bits::<2>(words, out, k),
        Bits::Three => unpack_bits::<3>(words, out, k),
        Bits::Four => unpack_bits::<4>(words, out, k),
    }
}

/// The words of row-major codes `[out, in]` that fit their bits; `in · bits` is whole words.
pub(super) fn pack(bits: Bits, codes: &[u8], out: usize, k: usize) -> Vec<u32> {
    match bits {
        Bits::Two => pack_bits::<2>(codes, out, k),
        Bits::Three => pack_bits::<3>(codes, out, k),
        Bits::Four => pack_bits::<4>(codes, out, k),
    }
}

fn unpack_bits<const BITS: usize>(words: &[u32], n: usize, k: usize) -> Vec<u8> {
    // No overflow: codes come from words that are there.
    let mut codes = vec![0; n * k];
    codes
        .par_chunks_mut(ROWS * k)
        .enumerate()
        .for_each(|(block, codes)| {
            for (unit, words) in words.chunks(BITS * n).enumerate() {
                for (row, codes) in codes.chunks_exact_mut(k).enumerate() {
                    let column = block * ROWS + row;
                    // The last unit may be of fewer words.
                    let word = |w: usize| words.get(w * n + column).copied().unwrap_or(0);
                    let string: [u32; BITS] = std::array::from_fn(word);
                    let end = k.min((unit + 1) * UNIT);
                    let codes = &mut codes[unit * UNIT..end];
                    codes.copy_from_slice(&read_unit(string)[..codes.len()]);
                }
            }
        });
    codes
}

fn pack_bits<const BITS: usize>(codes: &[u8], n: usize, k: usize) -> Vec<u32> {
    let mut words = vec![0; k * BITS / 32 * n];
    words
        .par_chunks_mut(BITS * n)
        .enumerate()
        .for_each(|(unit, words)| {
            for (column, row) in codes.chunks_exact(k).enumerate() {
                let row = &row[unit * UNIT..k.min((unit + 1) * UNIT)];
                let mut padded = [0; UNIT];
                padded[..row.len()].copy_from_slice(row);
                for (w, word) in write_unit::<BITS>(&padded).into_iter().enumerate() {
                    if let Some(place) = words.get_mut(w * n + column) {
                        *place = word;
                    }
                }
            }
        });
    words
}
