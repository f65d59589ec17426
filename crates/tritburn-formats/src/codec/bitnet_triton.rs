//! Weights of bitnet-triton (`bitnet_triton/packing.py`, commit `edf273d`): words
//! `[out, ceil(in / 16)]`, which are those of the canonical layout, padding included, and f32
//! scales `[out]` that multiply. `in` is not stored.
//!
//! # Examples
//!
//! ```
//! use tritburn_formats::codec::bitnet_triton;
//! use tritburn_formats::quantize::pack_weights;
//! use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};
//!
//! let layout = PackedLayout::new(2, 20, WeightCode::Ternary, ScaleGranularity::Row)?;
//! let weights: Vec<f32> = (0..40).map(|i| if i < 20 { 1.0 } else { -0.25 }).collect();
//! let matrix = pack_weights(&weights, &layout)?;
//!
//! let stored = bitnet_triton::encode(&matrix)?;
//! assert_eq!(stored.weight_scale, [1.0, 0.25]);
//! assert_eq!(stored.packed_weight, matrix.words());
//! assert_eq!(bitnet_triton::decode(&stored.packed_weight, 2, 20, &stored.weight_scale)?, matrix);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::CodecError;
use super::check::{self, ZEROS, last_word_mask};
use crate::matrix::PackedMatrix;
use crate::scale::ScaleGranularity;

const FORMAT: &str = "bitnet-triton";

/// A weight as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct RowScaledWeight {
    /// `[out, ceil(in / 16)]` words.
    pub packed_weight: Vec<u32>,
    /// Scale of each row.
    pub weight_scale: Vec<f32>,
}

/// Reads `[out, ceil(in / 16)]` words and `[out]` scales; the matrix has scales per row.
///
/// # Errors
/// [`CodecError::Layout`], [`CodecError::Length`], [`CodecError::InvalidCode`] for the first code
/// 3, [`CodecError::BadScale`].
pub fn decode(
    words: &[u32],
    out_features: usize,
    in_features: usize,
    weight_scale: &[f32],
) -> Result<PackedMatrix, CodecError> {
    let layout = check::layout(out_features, in_features, ScaleGranularity::Row)?;
    check::length(FORMAT, "words", words.len(), layout.word_count(), 1)?;
    check::length(FORMAT, "scales", weight_scale.len(), out_features, 1)?;
    let words = with_clean_padding(words, layout.words_per_row(), in_features);
    check::matrix(FORMAT, layout, words, weight_scale.to_vec(), 3)
}

/// Words and a scale for each row of a ternary matrix.
///
/// # Errors
/// [`CodecError::CodeTable`], [`CodecError::Granularity`] for scales per group,
/// [`CodecError::BadScale`].
pub fn encode(matrix: &PackedMatrix) -> Result<RowScaledWeight, CodecError> {
    check::ternary(FORMAT, matrix)?;
    check::finite(matrix.scales())?;
    let layout = matrix.layout();
    let scales = layout
        .scale()
        .row_scales(matrix.scales(), layout.out_features());
    let Some(weight_scale) = scales else {
        return Err(CodecError::Granularity {
            format: FORMAT,
            scale: layout.scale().clone(),
        });
    };
    let in_features = layout.in_features();
    Ok(RowScaledWeight {
        packed_weight: with_clean_padding(matrix.words(), layout.words_per_row(), in_features),
        weight_scale,
    })
}

fn with_clean_padding(words: &[u32], words_per_row: usize, in_features: usize) -> Vec<u32> {
    let mut words = words.to_vec();
    let mask = last_word_mask(in_features);
    if mask != u32::MAX {
        for last in words
            .iter_mut()
            .skip(words_per_row - 1)
            .step_by(words_per_row)
        {
            *last = *last & mask | ZEROS & !mask;
        }
    }
    words
}
