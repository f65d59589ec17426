//! GGUF type TQ1_0 (ggml type 34; llama.cpp, `ggml-quants.c`): 54 bytes for 256 weights.
//!
//! A byte holds five base-3 digits `w + 1`, most significant first, as
//! `⌈256·v / 243⌉` of their number `v`: then digit `i` is `3·((byte · 3ⁱ) mod 256) >> 8`.
//!
//! | weights | byte | digit |
//! |---|---|---|
//! | 0..160 | `e % 32` | `e / 32` |
//! | 160..240 | `32 + (e-160) % 16` | `(e-160) / 16` |
//! | 240..256 | `48 + (e-240) % 4` | `(e-240) / 4`, digit 4 is 0 |
//!
//! Then follows an f16 scale that multiplies. `in` is a multiple of 256. Bytes that are no such
//! number (13 of 256, and all with a digit 4 in the last row) are refused.
//!
//! # Examples
//!
//! ```
//! use tritburn_formats::codec::{Rounding, gguf::tq1_0};
//! use tritburn_formats::quantize::pack_weights;
//! use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};
//!
//! let layout = PackedLayout::new(2, 256, WeightCode::Ternary, ScaleGranularity::Tensor)?;
//! let weights: Vec<f32> = (0..512).map(|i| [0.5, -0.5][i % 2]).collect();
//! let matrix = pack_weights(&weights, &layout)?;
//!
//! let blocks = tq1_0::encode(&matrix, Rounding::Exact)?; // 0.5 is an f16
//! assert_eq!(blocks.len(), 2 * tq1_0::BLOCK_BYTES);
//! assert_eq!(tq1_0::decode(&blocks, 2, 256)?, matrix);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use half::f16;
use rayon::prelude::*;

use super::tq::{self, TASK};
use crate::codec::byte_rows::{gather_word, spread_words};
use crate::codec::{CodecError, Rounding, check};
use crate::matrix::PackedMatrix;
use crate::simd::multiversion;

const FORMAT: &str = "GGUF TQ1_0";

/// Bytes of a block.
pub const BLOCK_BYTES: usize = 54;

/// Bytes of five digits in a block; four of four digits and the scale follow.
const FULL: usize = 48;

/// Bytes of digits in a block.
const DIGITS: usize = 52;

/// Reads `out · in / 256` blocks, with one scale if all blocks have the same and with one scale
/// per 256 otherwise. Blocks of zeros do not count: their scale is stored as 0.
///
/// # Errors
/// [`CodecError::Layout`], [`CodecError::Multiple`], [`CodecError::Length`],
/// [`CodecError::InvalidByte`], [`CodecError::BadScale`].
pub fn decode(
    bytes: &[u8],
    out_features: usize,
    in_features: usize,
) -> Result<PackedMatrix, CodecError> {
    tq::collapse(decode_groups(bytes, out_features, in_features)?)
}

/// As [`decode`], always with the stored scales, one per 256.
///
/// # Errors
/// As [`decode`].
pub fn decode_groups(
    bytes: &[u8],
    out_features: usize,
    in_features: usize,
) -> Result<PackedMatrix, CodecError> {
    let layout = tq::layout(FORMAT, bytes, BLOCK_BYTES, out_features, in_features)?;
    let mut words = vec![0; layout.word_count()];
    let valid = words
        .par_chunks_mut(TASK * tq::WORDS)
        .zip(bytes.par_chunks(TASK * BLOCK_BYTES))
        .map(|(words, bytes)| decode_blocks(bytes, words))
        .reduce(|| true, |a, b| a && b);
    if !valid && let Some(error) = first_invalid(bytes) {
        return Err(error);
    }
    let scales = tq::scales(bytes, BLOCK_BYTES);
    check::matrix(FORMAT, layout, words, scales, 3)
}

/// Blocks of a ternary matrix. Every block of zeros gets the scale 0, as llama.cpp's quantiser
/// gives it.
///
/// # Errors
/// [`CodecError::CodeTable`], [`CodecError::Multiple`], [`CodecError::Granularity`] for groups
/// that are not whole blocks, [`CodecError::InexactScale`] and [`CodecError::BadScale`] as
/// [`Rounding::f16`].
pub fn encode(matrix: &PackedMatrix, rounding: Rounding) -> Result<Vec<u8>, CodecError> {
    let scales = tq::stored_scales(FORMAT, matrix, rounding)?;
    let mut bytes = vec![0; scales.len() * BLOCK_BYTES];
    bytes
        .par_chunks_mut(TASK * BLOCK_BYTES)
        .zip(matrix.words().par_chunks(TASK * tq::WORDS))
        .zip(scales.par_chunks(TASK))
        .for_each(|((bytes, words), scales)| encode_blocks(words, scales, bytes));
    Ok(bytes)
}

/// `byte · 243 = 256·v + r`, and the byte is `⌈256·v / 243⌉` exactly if `r < 243`.
#[inline(always)]
fn is_number(byte: u8) -> bool {
    byte.wrapping_mul(243) < 243
}

/// Digit 4 is 0.
#[inline(always)]
fn has_four_digits(byte: u8) -> bool {
    digit(byte.wrapping_mul(81)) == 0
}

/// `3·t >> 8`, in comparisons of bytes.
#[inline(always)]
fn digit(t: u8) -> u8 {
    u8::from(t > 85) + u8::from(t > 170)
}

fn first_invalid(bytes: &[u8]) -> Option<CodecError> {
    let wrong = |&(offset, &byte): &(usize, &u8)| match offset % BLOCK_BYTES {
        ..FULL => !is_number(byte),
        FULL..DIGITS => !is_number(byte) || !has_four_digits(byte),
        _ => false,
    };
    let (offset, &byte) = bytes.iter().enumerate().find(wrong)?;
    Some(CodecError::InvalidByte {
        format: FORMAT,
        offset,
        byte,
    })
}

multiversion! {
    /// Whether all bytes are valid.
    fn decode_blocks(bytes: &[u8], words: &mut [u32]) -> bool = decode_blocks_generic;
}

#[inline(always)]
fn decode_blocks_generic(bytes: &[u8], words: &mut [u32]) -> bool {
    let (blocks, _) = bytes.as_chunks::<BLOCK_BYTES>();
    let (words, _) = words.as_chunks_mut::<{ tq::WORDS }>();
    let mut valid = true;
    for (words, block) in words.iter_mut().zip(blocks) {
        let mut codes = [0; tq::BLOCK];
        let (first, rest) = codes.split_at_mut(160);
        let (second, last) = rest.split_at_mut(80);
        decode_digits::<32>(&block[..32], first);
        decode_digits::<16>(&block[32..FULL], second);
        decode_digits::<4>(&block[FULL..DIGITS], last);
        let numbers = block[..DIGITS].iter().map(|&b| is_number(b));
        valid = numbers.fold(valid, |all, one| all & one);
        let short = block[FULL..DIGITS].iter().map(|&b| has_four_digits(b));
        valid = short.fold(valid, |all, one| all & one);
        let (codes, _) = codes.as_chunks();
        for (word, codes) in words.iter_mut().zip(codes) {
            *word = gather_word(codes, 0);
        }
    }
    valid
}

/// Digits of `N` bytes, all of digit 0 first.
#[inline(always)]
fn decode_digits<const N: usize>(bytes: &[u8], codes: &mut [u8]) {
    let mut power = 1u8;
    for codes in codes.chunks_exact_mut(N) {
        for (code, byte) in codes.iter_mut().zip(bytes) {
            *code = digit(byte.wrapping_mul(power));
        }
        power = power.wrapping_mul(3);
    }
}

multiversion! {
    fn encode_blocks(words: &[u32], scales: &[f16], bytes: &mut [u8]) = encode_blocks_generic;
}

#[inline(always)]
fn encode_blocks_generic(words: &[u32], scales: &[f16], bytes: &mut [u8]) {
    let (blocks, _) = bytes.as_chunks_mut::<BLOCK_BYTES>();
    let (words, _) = words.as_chunks::<{ tq::WORDS }>();
    for ((words, scale), block) in words.iter().zip(scales).zip(blocks) {
        let mut codes = [0; tq::BLOCK];
        let (chunks, _) = codes.as_chunks_mut();
        for (codes, &word) in chunks.iter_mut().zip(words) {
            *codes = spread_words([word, 0, 0, 0]);
        }
        encode_digits::<32>(&codes[..160], &mut block[..32]);
        encode_digits::<16>(&codes[160..240], &mut block[32..FULL]);
        encode_digits::<4>(&codes[240..], &mut block[FULL..DIGITS]);
        block[DIGITS..].copy_from_slice(&scale.to_le_bytes());
    }
}

/// The inverse of [`decode_digits`]; fewer than five digits are followed by zeros.
#[inline(always)]
fn encode_digits<const N: usize>(codes: &[u8], bytes: &mut [u8]) {
    let mut numbers = [0u16; N];
    let digits = codes.chunks_exact(N);
    let missing = 5usize.saturating_sub(digits.len());
    for digits in digits.chain(std::iter::repeat_n([0; N].as_slice(), missing)) {
        for (number, &digit) in numbers.iter_mut().zip(digits) {
            *number = 3 * *number + u16::from(digit);
        }
    }
    for (byte, number) in bytes.iter_mut().zip(numbers) {
        *byte = (256 * number).div_ceil(243) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::{digit, has_four_digits, is_number};

    #[test]
    fn exactly_the_stored_forms_of_numbers_are_valid() {
        let stored: Vec<u8> = (0..243u32).map(|v| (256 * v).div_ceil(243) as u8).collect();
        for byte in 0..=255u8 {
            let number = stored.iter().position(|&s| s == byte);
            assert_eq!(is_number(byte), number.is_some(), "{byte}");
            if let Some(v) = number {
                assert_eq!(has_four_digits(byte), v % 3 == 0, "{byte}");
            }
            assert_eq!(digit(byte), ((3 * u16::from(byte)) >> 8) as u8);
        }
    }
}
