//! GGUF type TQ2_0 (ggml type 35; llama.cpp, `ggml-quants.c`): 66 bytes for 256 weights.
//!
//! 64 bytes of codes `w + 1`, then an f16 scale that multiplies. Weight `e` of a block is in byte
//! `32·(e/128) + e%32` at bit `2·((e%128)/32)`. `in` is a multiple of 256. Code 3 is invalid.
//!
//! # Examples
//!
//! ```
//! use tritburn_formats::codec::{Rounding, gguf::tq2_0};
//! use tritburn_formats::quantize::pack_weights;
//! use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};
//!
//! let layout = PackedLayout::new(2, 256, WeightCode::Ternary, ScaleGranularity::Tensor)?;
//! let weights: Vec<f32> = (0..512).map(|i| [0.5, -0.5][i % 2]).collect();
//! let matrix = pack_weights(&weights, &layout)?;
//!
//! let blocks = tq2_0::encode(&matrix, Rounding::Exact)?; // 0.5 is an f16
//! assert_eq!(blocks.len(), 2 * tq2_0::BLOCK_BYTES);
//! assert_eq!(tq2_0::decode(&blocks, 2, 256)?, matrix);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use half::f16;
use rayon::prelude::*;

use super::quarters::{self, LOW_FIRST};
use super::tq::{self, TASK};
use crate::codec::{CodecError, Rounding, check};
use crate::matrix::PackedMatrix;
use crate::simd::multiversion;

const FORMAT: &str = "GGUF TQ2_0";

/// Bytes of a block.
pub const BLOCK_BYTES: usize = 66;

/// Reads `out · in / 256` blocks, with one scale if all blocks have the same and with one scale
/// per 256 otherwise. Blocks of zeros do not count: their scale is stored as 0.
///
/// # Errors
/// [`CodecError::Layout`], [`CodecError::Multiple`], [`CodecError::Length`],
/// [`CodecError::InvalidCode`] for the first code 3, [`CodecError::BadScale`].
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
    words
        .par_chunks_mut(TASK * tq::WORDS)
        .zip(bytes.par_chunks(TASK * BLOCK_BYTES))
        .for_each(|(words, bytes)| decode_blocks(bytes, words));
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

multiversion! {
    fn decode_blocks(bytes: &[u8], words: &mut [u32]) = decode_blocks_generic;
}

#[inline(always)]
fn decode_blocks_generic(bytes: &[u8], words: &mut [u32]) {
    let (blocks, _) = bytes.as_chunks::<BLOCK_BYTES>();
    let (words, _) = words.as_chunks_mut::<{ tq::WORDS }>();
    for (words, block) in words.iter_mut().zip(blocks) {
        quarters::decode(&block[..32], LOW_FIRST, &mut words[..8]);
        quarters::decode(&block[32..64], LOW_FIRST, &mut words[8..]);
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
        quarters::encode(&words[..8], LOW_FIRST, &mut block[..32]);
        quarters::encode(&words[8..], LOW_FIRST, &mut block[32..64]);
        block[64..].copy_from_slice(&scale.to_le_bytes());
    }
}
