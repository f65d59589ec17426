//! Int2 weights of BitMedViT (`kernels/pack_weight.py` and the reshapes of its tests, commit
//! `98d3155`): int8 `[out, in / 4]` in the order of a tensor-core [`Tile`], the words as in
//! [`bitnet_gpu`](super::bitnet_gpu), `code = w + 2`. Code 0 (weight -2) is not ternary.
//!
//! One bf16 scale stands apart, `weight_scale = 1 / γ`:
//! [`ScaleDirection::Divide`](super::ScaleDirection::Divide).
//!
//! # Examples
//!
//! ```
//! use tritburn_formats::codec::bitmedvit::{self, Tile};
//! use tritburn_formats::codec::{Rounding, ScaleDirection};
//! use tritburn_formats::quantize::pack_weights;
//! use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};
//!
//! let layout = PackedLayout::new(32, 32, WeightCode::Ternary, ScaleGranularity::Tensor)?;
//! let weights: Vec<f32> = (0..32 * 32).map(|i| [0.5, -0.5][i % 2]).collect();
//! let matrix = pack_weights(&weights, &layout)?;
//!
//! let encoded = bitmedvit::encode(&matrix, Tile::M8N32K16)?;
//! let weight_scale = ScaleDirection::Divide.to_bf16(encoded.gamma, Rounding::Exact)?;
//! assert_eq!(weight_scale.to_f32(), 2.0); // 1 / 0.5
//!
//! let gamma = ScaleDirection::Divide.to_gamma(weight_scale.to_f32())?;
//! assert_eq!(bitmedvit::decode(&encoded.data, 32, 32, Tile::M8N32K16, gamma)?, matrix);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::{CodecError, Encoded, check, tiles};
use crate::matrix::PackedMatrix;
use crate::scale::ScaleGranularity;

pub use super::tiles::Tile;

const FORMAT: &str = "BitMedViT int2";

/// Reads `out · in / 4` bytes; the matrix has one scale, `gamma`.
///
/// # Errors
/// [`CodecError::Layout`], [`CodecError::Multiple`], [`CodecError::Length`],
/// [`CodecError::InvalidCode`] for the first code 0, [`CodecError::BadScale`].
pub fn decode(
    bytes: &[u8],
    out_features: usize,
    in_features: usize,
    tile: Tile,
    gamma: f32,
) -> Result<PackedMatrix, CodecError> {
    let layout = check::layout(out_features, in_features, ScaleGranularity::Tensor)?;
    tile.check(FORMAT, out_features, in_features)?;
    check::length(FORMAT, "bytes", bytes.len(), layout.word_count(), 4)?;
    let words = tiles::decode(bytes, &layout, tile);
    check::matrix(FORMAT, layout, words, vec![gamma], 0)
}

/// Bytes and γ of a ternary matrix whose scales are all the same.
///
/// # Errors
/// [`CodecError::CodeTable`], [`CodecError::Multiple`], [`CodecError::ScalesDiffer`],
/// [`CodecError::BadScale`].
pub fn encode(matrix: &PackedMatrix, tile: Tile) -> Result<Encoded<u8>, CodecError> {
    check::ternary(FORMAT, matrix)?;
    let layout = matrix.layout();
    tile.check(FORMAT, layout.out_features(), layout.in_features())?;
    let gamma = check::one_scale(FORMAT, matrix)?;
    let data = tiles::encode(matrix, tile);
    Ok(Encoded { data, gamma })
}
