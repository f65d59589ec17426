//! Int2 weights of microsoft/BitNet's GPU kernels (`gpu/pack_weight.py`, commit `16da220`): int8
//! `[out, in / 4]` that is really a row of 16×32 blocks, `code = w + 2`.
//!
//! Words of 16 columns, little-endian; the one of row `n`, columns `16j..`, is number
//! `32·((n/16)·(in/32) + j/2) + 16·((n%16)/8) + 8·(j%2) + n%8`, and column `c` of it stands at bit
//! `8·(c%4) + 2·(c/4)`. `out` is a multiple of 16, `in` of 32. Code 0 (weight -2) is not ternary.
//!
//! A tensor may be several matrices under one another, which are its row segments: q, k, v in
//! `attention.wqkv`, gate and up in `feed_forward.w13`. Beside it stand always four bf16 scales,
//! `weight_scale`, that multiply: one a segment, then zeros. The rows of a segment are those of the
//! matrix it comes from; the kernels published with the format cut `wqkv` into equal parts
//! instead, which is wrong for grouped-query attention and not done here.
//!
//! Rows of q and k are in the order of interleaved rotary embeddings:
//! [`rotary_interleaved`](crate::matrix::rotary_interleaved) makes it of the half-split order of
//! transformers, [`rotary_half_split`](crate::matrix::rotary_half_split) is the way back.
//!
//! # Examples
//!
//! ```
//! use tritburn_formats::codec::{Rounding, bitnet_gpu};
//! use tritburn_formats::quantize::pack_weights;
//! use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};
//!
//! // q, k and v, 64 rows together: three segments, each with a scale of its own.
//! let rows = vec![32, 16, 16];
//! let scale = ScaleGranularity::Segments { rows: rows.clone() };
//! let layout = PackedLayout::new(64, 32, WeightCode::Ternary, scale)?;
//! let weights: Vec<f32> = (0..64 * 32).map(|i| [0.5, -0.5][i % 2]).collect();
//! let qkv = pack_weights(&weights, &layout)?;
//!
//! let stored = bitnet_gpu::encode(&qkv, Rounding::Exact)?;
//! assert_eq!(stored.data.len(), 64 * 32 / 4);
//! assert_eq!(stored.weight_scale.map(f32::from), [0.5, 0.5, 0.5, 0.0]);
//! assert_eq!(bitnet_gpu::decode(&stored.data, &rows, 32, stored.weight_scale)?, qkv);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use half::bf16;

use super::tiles::{self, Tile};
use super::{CodecError, Rounding, check};
use crate::matrix::PackedMatrix;
use crate::scale::ScaleGranularity;

const FORMAT: &str = "BitNet GPU int2";

/// Scales of a tensor, used or not.
pub const SCALES: usize = 4;

/// A tensor as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct FusedWeight {
    /// `out · in / 4` bytes.
    pub data: Vec<u8>,
    /// γ of each segment, then zeros.
    pub weight_scale: [bf16; SCALES],
}

/// Reads a tensor of `segments[i]` rows with scale `weight_scale[i]`. One segment gives a matrix
/// with one scale, more give scales per segment.
///
/// # Errors
/// [`CodecError::Layout`], [`CodecError::Granularity`] for more than four segments,
/// [`CodecError::UnusedScale`] for a scale without a segment, [`CodecError::Multiple`],
/// [`CodecError::Length`], [`CodecError::InvalidCode`] for the first code 0,
/// [`CodecError::BadScale`].
pub fn decode(
    bytes: &[u8],
    segments: &[usize],
    in_features: usize,
    weight_scale: [bf16; SCALES],
) -> Result<PackedMatrix, CodecError> {
    let scale = match segments {
        [_] => ScaleGranularity::Tensor,
        rows => ScaleGranularity::Segments {
            rows: rows.to_vec(),
        },
    };
    if segments.len() > SCALES {
        return Err(too_many(scale));
    }
    let (used, unused) = weight_scale.split_at(segments.len());
    if let Some(i) = unused.iter().position(|s| s.to_f32() != 0.0) {
        return Err(CodecError::UnusedScale {
            index: used.len() + i,
            value: unused[i].to_f32(),
            segments: used.len(),
        });
    }
    let out_features = segments
        .iter()
        .fold(0, |sum: usize, &r| sum.saturating_add(r));
    let layout = check::layout(out_features, in_features, scale)?;
    Tile::M16N16K16.check(FORMAT, out_features, in_features)?;
    check::length(FORMAT, "bytes", bytes.len(), layout.word_count(), 4)?;
    let words = tiles::decode(bytes, &layout, Tile::M16N16K16);
    let scales = used.iter().map(|s| s.to_f32()).collect();
    check::matrix(FORMAT, layout, words, scales, 0)
}

/// Stores a ternary matrix with one scale or up to four row segments.
///
/// # Errors
/// [`CodecError::CodeTable`], [`CodecError::Multiple`], [`CodecError::Granularity`] for more than
/// four segments, [`CodecError::ScalesDiffer`] for scales per row or group that are not all the
/// same, [`CodecError::InexactScale`] and [`CodecError::BadScale`] as [`Rounding::bf16`].
pub fn encode(matrix: &PackedMatrix, rounding: Rounding) -> Result<FusedWeight, CodecError> {
    check::ternary(FORMAT, matrix)?;
    let layout = matrix.layout();
    Tile::M16N16K16.check(FORMAT, layout.out_features(), layout.in_features())?;
    let mut weight_scale = [bf16::ZERO; SCALES];
    match layout.scale() {
        ScaleGranularity::Segments { rows } if rows.len() > SCALES => {
            return Err(too_many(layout.scale().clone()));
        }
        ScaleGranularity::Segments { .. } => {
            let entries = weight_scale.iter_mut().zip(matrix.scales());
            for (index, (entry, &scale)) in entries.enumerate() {
                *entry = rounding.bf16(index, scale)?;
            }
        }
        _ => weight_scale[0] = rounding.bf16(0, check::one_scale(FORMAT, matrix)?)?,
    }
    Ok(FusedWeight {
        data: tiles::encode(matrix, Tile::M16N16K16),
        weight_scale,
    })
}

fn too_many(scale: ScaleGranularity) -> CodecError {
    CodecError::Granularity {
        format: FORMAT,
        scale,
    }
}
