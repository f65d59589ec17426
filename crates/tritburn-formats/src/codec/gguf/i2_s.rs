//! GGUF type I2_S of microsoft/BitNet's llama.cpp fork: `out · in / 4` bytes of codes `w + 1`, then
//! 32 bytes that begin with one f32 scale, which multiplies.
//!
//! The fork's type number, 36, means other things elsewhere: decide by the model's architecture
//! too. All published files are in the order of [`Variant::Block128`]; the others come from the fork's
//! C quantiser built for other targets.
//!
//! # Which order a file is in
//!
//! Nothing in a file says it, and nothing in a tensor can: read in another order, a matrix is as valid
//! as before. All orders hold the same codes `w + 1` (the counts of -1, 0 and +1 stay, and so does an
//! absent code 3), behind the same number of bytes, with the same tail. Where `in` is a multiple of
//! 128, `Block128` for `Neon64` or back is even the same matrix with its inputs in another order,
//! the same one in every row, so no statistic of rows or of whole matrices differs either. Only two
//! things can be known:
//!
//! - what cannot be: an order that has no place for the shape, see [`Variant::fits`];
//! - what makes sense: the logits of the model, or how well the columns of a trained matrix go with
//!   other tensors in the order of its inputs (gains of the norm before it, rows of the projection
//!   that feeds it). That is a guess about a model, not a fact about a tensor, and not made here.
//!
//! So the order is the caller's to give: [`decode`] reads `Block128`, [`decode_variant`] any.
//!
//! # Shapes
//!
//! Weights are numbered through, `i = row · in + col`. The fork's kernels want `in` in multiples of
//! 128; here it is enough that the matrix is a whole number of blocks. Code 3 is refused, though
//! the fork reads it as 0: nothing writes it.
//!
//! # Examples
//!
//! ```
//! use tritburn_formats::codec::gguf::i2_s;
//! use tritburn_formats::quantize::pack_weights;
//! use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};
//!
//! let layout = PackedLayout::new(2, 128, WeightCode::Ternary, ScaleGranularity::Tensor)?;
//! let weights: Vec<f32> = (0..256).map(|i| [0.5, -0.5][i % 2]).collect();
//! let matrix = pack_weights(&weights, &layout)?;
//!
//! let bytes = i2_s::encode(&matrix)?;
//! assert_eq!(bytes.len(), 256 / 4 + i2_s::TAIL_BYTES);
//! assert_eq!(bytes[64..68], 0.5_f32.to_le_bytes()); // the scale, behind the codes
//! assert_eq!(i2_s::decode(&bytes, 2, 128)?, matrix);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use rayon::prelude::*;

use super::quarters::{self, HIGH_FIRST};
use crate::codec::{CodecError, byte_rows, check, flat};
use crate::fields::reverse_fields_of_bytes;
use crate::layout::PackedLayout;
use crate::matrix::PackedMatrix;
use crate::scale::ScaleGranularity;
use crate::simd::multiversion;

const FORMAT: &str = "GGUF I2_S";

/// Bytes behind the codes, of which the first four are the scale.
pub const TAIL_BYTES: usize = 32;

/// Order of the codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Variant {
    /// Byte `32·(i/128) + i%32`, bit `6 - 2·((i%128)/32)`: official files, Python converters,
    /// the C quantiser on x86. `out · in` is a multiple of 128.
    #[default]
    Block128,
    /// Byte `16·(i/64) + i%16`, bit `6 - 2·((i%64)/16)`: the C quantiser on ARM. `out · in` is a
    /// multiple of 64.
    Neon64,
    /// Byte `(row/4)·in + col`, bit `6 - 2·(row%4)`: the C quantiser on x86 without
    /// `ACT_PARALLEL`. `out` is a multiple of 4.
    FourRows,
    /// Byte `i/4`, bit `6 - 2·(i%4)`: one published revision of the fork. `out · in` is a multiple
    /// of 4. From its source, never seen in a file.
    Sequential,
}

impl Variant {
    /// All orders, the likeliest first.
    pub const ALL: [Self; 4] = [
        Self::Block128,
        Self::Neon64,
        Self::FourRows,
        Self::Sequential,
    ];

    /// Whether an `[out, in]` matrix can be stored in this order. A file with one matrix that does
    /// not fit is in another order; one whose matrices fit several may be in any of these.
    pub fn fits(self, out_features: usize, in_features: usize) -> bool {
        let scale = ScaleGranularity::Tensor;
        check::layout(out_features, in_features, scale)
            .is_ok_and(|layout| self.check(&layout).is_ok())
    }

    fn check(self, layout: &PackedLayout) -> Result<(), CodecError> {
        let (what, value, multiple) = match self {
            Self::Block128 => ("out_features · in_features", layout.weight_count(), 128),
            Self::Neon64 => ("out_features · in_features", layout.weight_count(), 64),
            Self::FourRows => ("out_features", layout.out_features(), 4),
            Self::Sequential => ("out_features · in_features", layout.weight_count(), 4),
        };
        check::multiple(FORMAT, what, value, multiple)
    }
}

/// Reads `out · in / 4 + 32` bytes in the order of [`Variant::Block128`].
///
/// # Errors
/// As [`decode_variant`].
pub fn decode(
    bytes: &[u8],
    out_features: usize,
    in_features: usize,
) -> Result<PackedMatrix, CodecError> {
    decode_variant(bytes, out_features, in_features, Variant::Block128)
}

/// Reads `out · in / 4 + 32` bytes; the matrix has one scale.
///
/// # Errors
/// [`CodecError::Layout`], [`CodecError::Multiple`], [`CodecError::Length`],
/// [`CodecError::InvalidCode`] for the first code 3, [`CodecError::BadScale`].
pub fn decode_variant(
    bytes: &[u8],
    out_features: usize,
    in_features: usize,
    variant: Variant,
) -> Result<PackedMatrix, CodecError> {
    let layout = check::layout(out_features, in_features, ScaleGranularity::Tensor)?;
    variant.check(&layout)?;
    let code_bytes = layout.weight_count() / 4;
    check::length(FORMAT, "bytes", bytes.len(), code_bytes + TAIL_BYTES, 1)?;
    let (codes, tail) = bytes.split_at(code_bytes);
    let gamma = f32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]);
    let words = match variant {
        Variant::Block128 => decode_blocks::<32>(codes, &layout),
        Variant::Neon64 => decode_blocks::<16>(codes, &layout),
        Variant::FourRows => byte_rows::decode(codes, &layout, |n| (n / 4, 3 - (n % 4) as u32)),
        Variant::Sequential => decode_sequential(codes, &layout),
    };
    check::matrix(FORMAT, layout, words, vec![gamma], 3)
}

/// Bytes of a ternary matrix whose scales are all the same, in the order of
/// [`Variant::Block128`].
///
/// # Errors
/// As [`encode_variant`].
pub fn encode(matrix: &PackedMatrix) -> Result<Vec<u8>, CodecError> {
    encode_variant(matrix, Variant::Block128)
}

/// Bytes of a ternary matrix whose scales are all the same; the tail is the scale and zeros.
///
/// # Errors
/// [`CodecError::CodeTable`], [`CodecError::Multiple`], [`CodecError::ScalesDiffer`],
/// [`CodecError::BadScale`].
pub fn encode_variant(matrix: &PackedMatrix, variant: Variant) -> Result<Vec<u8>, CodecError> {
    check::ternary(FORMAT, matrix)?;
    variant.check(matrix.layout())?;
    let gamma = check::one_scale(FORMAT, matrix)?;
    let mut bytes = match variant {
        Variant::Block128 => encode_blocks::<32>(matrix),
        Variant::Neon64 => encode_blocks::<16>(matrix),
        Variant::FourRows => {
            let byte_rows = matrix.layout().out_features() / 4;
            byte_rows::encode(matrix, byte_rows, |r| [3, 2, 1, 0].map(|n| 4 * r + n))
        }
        Variant::Sequential => encode_sequential(matrix),
    };
    bytes.extend(gamma.to_le_bytes());
    bytes.resize(bytes.len() + TAIL_BYTES - size_of::<f32>(), 0);
    Ok(bytes)
}

/// Bytes to a task: a multiple of both block sizes.
const TASK: usize = 1 << 14;

/// `BYTES` bytes a block, as many words as a quarter of that.
fn decode_blocks<const BYTES: usize>(codes: &[u8], layout: &PackedLayout) -> Vec<u32> {
    let mut words = vec![0; codes.len() / 4];
    words
        .par_chunks_mut(TASK / 4)
        .zip(codes.par_chunks(TASK))
        .for_each(|(words, codes)| match BYTES {
            32 => decode_128(codes, words),
            _ => decode_64(codes, words),
        });
    flat::to_rows(words, layout)
}

fn encode_blocks<const BYTES: usize>(matrix: &PackedMatrix) -> Vec<u8> {
    let words = flat::from_rows(matrix);
    let mut codes = vec![0; 4 * words.len()];
    codes
        .par_chunks_mut(TASK)
        .zip(words.par_chunks(TASK / 4))
        .for_each(|(codes, words)| match BYTES {
            32 => encode_128(words, codes),
            _ => encode_64(words, codes),
        });
    codes
}

multiversion! {
    fn decode_128(codes: &[u8], words: &mut [u32]) = decode_generic::<32>;
}

multiversion! {
    fn decode_64(codes: &[u8], words: &mut [u32]) = decode_generic::<16>;
}

#[inline(always)]
fn decode_generic<const BYTES: usize>(codes: &[u8], words: &mut [u32]) {
    let blocks = words
        .chunks_exact_mut(BYTES / 4)
        .zip(codes.chunks_exact(BYTES));
    for (words, codes) in blocks {
        quarters::decode(codes, HIGH_FIRST, words);
    }
}

multiversion! {
    fn encode_128(words: &[u32], codes: &mut [u8]) = encode_generic::<32>;
}

multiversion! {
    fn encode_64(words: &[u32], codes: &mut [u8]) = encode_generic::<16>;
}

#[inline(always)]
fn encode_generic<const BYTES: usize>(words: &[u32], codes: &mut [u8]) {
    let blocks = words
        .chunks_exact(BYTES / 4)
        .zip(codes.chunks_exact_mut(BYTES));
    for (words, codes) in blocks {
        quarters::encode(words, HIGH_FIRST, codes);
    }
}

fn decode_sequential(codes: &[u8], layout: &PackedLayout) -> Vec<u32> {
    let word = |bytes: &[u8]| {
        let mut word = [0; 4];
        word[..bytes.len()].copy_from_slice(bytes);
        reverse_fields_of_bytes(u32::from_le_bytes(word))
    };
    flat::to_rows(codes.par_chunks(4).map(word).collect(), layout)
}

fn encode_sequential(matrix: &PackedMatrix) -> Vec<u8> {
    let words = flat::from_rows(matrix);
    let bytes = words.iter().map(|&word| reverse_fields_of_bytes(word));
    let mut codes: Vec<u8> = bytes.flat_map(u32::to_le_bytes).collect();
    codes.truncate(matrix.layout().weight_count() / 4);
    codes
}
