//! GGUF type Q2_0 (ggml type 42) for ternary weights: blocks of an f16 scale `d` that multiplies and
//! codes `w + 1` of two bits, in order: weight `i` of a block is in byte `i/4` at bit `2·(i%4)`.
//!
//! | [`Block`] | weights | bytes | where |
//! |---|---|---|---|
//! | `B64` | 64 | 18 | llama.cpp, type 42 |
//! | `B128` | 128 | 34 | Prism's fork: type 42 of its older files, and PQ2_0, type 142 |
//!
//! Both may have the number 42. They differ in bytes a weight (18/64 and 34/128), so the length of a
//! tensor tells which it is: [`Block::of`]. `in` is a multiple of the block. A code 3, `2·d`, is no
//! ternary weight and is refused.
//!
//! Weights of PQ2_0 may be stored behind a Hadamard transform of their input, which the metadata of
//! the file says and nothing here undoes.
//!
//! # Examples
//!
//! ```
//! use tritburn_formats::codec::Rounding;
//! use tritburn_formats::codec::gguf::q2_0::{self, Block};
//! use tritburn_formats::quantize::pack_weights;
//! use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};
//!
//! let scale = ScaleGranularity::Group { size: 64 };
//! let layout = PackedLayout::new(1, 128, WeightCode::Ternary, scale)?;
//! let weights = [[0.5_f32; 64], [-2.0; 64]].concat();
//! let matrix = pack_weights(&weights, &layout)?;
//!
//! let bytes = q2_0::encode(&matrix, Block::B64, Rounding::Exact)?;
//! assert_eq!(bytes.len(), 2 * 18);
//! assert_eq!(bytes[..3], [0x00, 0x38, 0b10_10_10_10]); // 0.5, then codes of +1
//! assert_eq!(q2_0::decode(&bytes, 1, 128)?, matrix);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use half::f16;
use rayon::prelude::*;

use crate::codec::{CodecError, Rounding, check};
use crate::layout::WEIGHTS_PER_WORD;
use crate::matrix::PackedMatrix;
use crate::scale::ScaleGranularity;

const FORMAT: &str = "GGUF Q2_0";

/// Bytes of a block's scale, which come first.
const SCALE: usize = 2;

/// Blocks to a task.
const TASK: usize = 1024;

/// Weights that share a scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Block {
    /// 64 weights in 18 bytes.
    #[default]
    B64,
    /// 128 weights in 34 bytes.
    B128,
}

impl Block {
    /// Weights of a block.
    pub const fn weights(self) -> usize {
        match self {
            Self::B64 => 64,
            Self::B128 => 128,
        }
    }

    /// Bytes of a block.
    pub const fn bytes(self) -> usize {
        SCALE + self.weights() / 4
    }

    /// The block of a tensor of `weights` that has `bytes`; `None` if it is neither.
    pub fn of(weights: usize, bytes: usize) -> Option<Self> {
        [Self::B64, Self::B128].into_iter().find(|block| {
            weights.is_multiple_of(block.weights())
                && (weights / block.weights()).checked_mul(block.bytes()) == Some(bytes)
        })
    }
}

/// Reads a tensor in either block, told by the number of bytes; the matrix has one scale per 64 or
/// 128 inputs.
///
/// # Errors
/// [`CodecError::Layout`], [`CodecError::Length`] (whose `expected` is that of [`Block::B64`] where
/// `in` allows it), [`CodecError::Multiple`], [`CodecError::InvalidCode`] for the first code 3,
/// [`CodecError::BadScale`].
pub fn decode(
    bytes: &[u8],
    out_features: usize,
    in_features: usize,
) -> Result<PackedMatrix, CodecError> {
    let weights = out_features.checked_mul(in_features);
    let block = weights.and_then(|weights| Block::of(weights, bytes.len()));
    decode_blocks(bytes, out_features, in_features, block.unwrap_or_default())
}

/// Reads a tensor in the given block.
///
/// # Errors
/// As [`decode`].
pub fn decode_blocks(
    bytes: &[u8],
    out_features: usize,
    in_features: usize,
    block: Block,
) -> Result<PackedMatrix, CodecError> {
    let size = block.weights();
    let layout = check::layout(out_features, in_features, ScaleGranularity::Group { size })?;
    check::multiple(FORMAT, "in_features", in_features, size)?;
    let blocks = layout.scale_count();
    check::length(FORMAT, "bytes", bytes.len(), blocks, block.bytes())?;
    let mut words = vec![0; layout.word_count()];
    words
        .par_chunks_mut(size / WEIGHTS_PER_WORD)
        .with_min_len(TASK)
        .zip(bytes.par_chunks(block.bytes()))
        .for_each(|(words, block)| {
            let (codes, _) = block[SCALE..].as_chunks::<4>();
            for (word, codes) in words.iter_mut().zip(codes) {
                *word = u32::from_le_bytes(*codes);
            }
        });
    let scale = |block: &[u8]| f16::from_le_bytes([block[0], block[1]]).to_f32();
    let scales = bytes
        .par_chunks(block.bytes())
        .with_min_len(TASK)
        .map(scale)
        .collect();
    check::matrix(FORMAT, layout, words, scales, 3)
}

/// Bytes of a ternary matrix whose scales each stand for whole blocks.
///
/// # Errors
/// [`CodecError::CodeTable`], [`CodecError::Multiple`], [`CodecError::Granularity`] for groups that
/// are not whole blocks, [`CodecError::InexactScale`] and [`CodecError::BadScale`] as
/// [`Rounding::f16`].
pub fn encode(
    matrix: &PackedMatrix,
    block: Block,
    rounding: Rounding,
) -> Result<Vec<u8>, CodecError> {
    check::ternary(FORMAT, matrix)?;
    let layout = matrix.layout();
    let size = block.weights();
    check::multiple(FORMAT, "in_features", layout.in_features(), size)?;
    let blocks = matrix.refine(&ScaleGranularity::Group { size });
    let blocks = blocks.map_err(|_| CodecError::Granularity {
        format: FORMAT,
        scale: layout.scale().clone(),
    })?;
    // Scales are counted as the matrix has them.
    let index = |i: usize| {
        let per_row = layout.in_features() / size;
        layout
            .scale()
            .index(i / per_row, i % per_row * size, layout.in_features())
    };
    let scales = blocks.scales().iter().enumerate();
    let scales: Vec<f16> = scales
        .map(|(i, &scale)| rounding.f16(index(i), scale))
        .collect::<Result<_, _>>()?;
    let mut bytes = vec![0; scales.len() * block.bytes()];
    bytes
        .par_chunks_mut(block.bytes())
        .with_min_len(TASK)
        .zip(matrix.words().par_chunks(size / WEIGHTS_PER_WORD))
        .zip(&scales)
        .for_each(|((bytes, words), scale)| {
            let (d, codes) = bytes.split_at_mut(SCALE);
            d.copy_from_slice(&scale.to_le_bytes());
            codes.copy_from_slice(bytemuck::cast_slice(words));
        });
    Ok(bytes)
}
