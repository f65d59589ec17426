//! The bytes of Burn's quantised tensors of type Q2S in `PackedU32(0)` storage, with f32 scales per
//! tensor or per block along a row: words `[out, in / 16]`, column `k` at bit `2·(k % 16)` in two's
//! complement (0 is `00`, +1 is `01`, -1 is `11`), then the scales, which multiply. `in` is a
//! multiple of 16. `10` is -2, outside of Q2S.
//!
//! # Examples
//!
//! ```
//! use tritburn_formats::codec::burn_q2s;
//! use tritburn_formats::quantize::pack_weights;
//! use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};
//!
//! // A row that begins with +1, -1; mean |w| is 1/8.
//! let mut weights = [0.0; 16];
//! (weights[0], weights[1]) = (1.0, -1.0);
//! let layout = PackedLayout::new(1, 16, WeightCode::Ternary, ScaleGranularity::Tensor)?;
//! let matrix = pack_weights(&weights, &layout)?;
//!
//! let bytes = burn_q2s::encode(&matrix)?;
//! assert_eq!(bytes[..4], 0b11_01_u32.to_le_bytes());
//! assert_eq!(bytes[4..], 0.125_f32.to_le_bytes());
//! assert_eq!(burn_q2s::decode(&bytes, 1, 16, None)?, matrix);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use rayon::prelude::*;

use super::{CodecError, check};
use crate::fields::{minus_one, plus_one};
use crate::layout::WEIGHTS_PER_WORD;
use crate::matrix::PackedMatrix;
use crate::scale::ScaleGranularity;

const FORMAT: &str = "Burn Q2S";

/// Largest block: Burn holds its extents in bytes. A multiple of 16.
const MAX_BLOCK: usize = 240;

/// Bytes to a task.
const TASK: usize = 1 << 14;

/// Reads the bytes of a `[out, in]` tensor: with one scale, or with one per `block` inputs.
///
/// # Errors
/// [`CodecError::Layout`], also for blocks that split a word, [`CodecError::Multiple`],
/// [`CodecError::Granularity`] for blocks over 240 inputs, [`CodecError::Length`],
/// [`CodecError::InvalidCode`] for the first `10`, [`CodecError::BadScale`].
pub fn decode(
    bytes: &[u8],
    out_features: usize,
    in_features: usize,
    block: Option<usize>,
) -> Result<PackedMatrix, CodecError> {
    let scale = match block {
        None => ScaleGranularity::Tensor,
        Some(size) => ScaleGranularity::Group { size },
    };
    let layout = check::layout(out_features, in_features, scale)?;
    check_sizes(in_features, layout.scale())?;
    let values = layout.word_count() + layout.scale_count();
    check::length(FORMAT, "bytes", bytes.len(), values, 4)?;
    let (values, _) = bytes.as_chunks::<4>();
    let (words, scales) = values.split_at(layout.word_count());
    let words = words.par_iter().with_min_len(TASK / 4);
    let words = words.map(|&w| plus_one(u32::from_le_bytes(w))).collect();
    let scales = scales.iter().map(|&s| f32::from_le_bytes(s)).collect();
    check::matrix(FORMAT, layout, words, scales, 2)
}

/// Bytes of a ternary matrix with one scale, or with scales per group that are Burn's blocks.
///
/// # Errors
/// [`CodecError::CodeTable`], [`CodecError::Multiple`], [`CodecError::Granularity`] for groups
/// over 240 inputs, [`CodecError::ScalesDiffer`] for scales per row or segment that are not all
/// the same, [`CodecError::BadScale`].
pub fn encode(matrix: &PackedMatrix) -> Result<Vec<u8>, CodecError> {
    check::ternary(FORMAT, matrix)?;
    let layout = matrix.layout();
    check_sizes(layout.in_features(), layout.scale())?;
    check::finite(matrix.scales())?;
    let one;
    let scales = match layout.scale() {
        ScaleGranularity::Group { .. } => matrix.scales(),
        _ => {
            one = [check::one_scale(FORMAT, matrix)?];
            &one
        }
    };
    let mut bytes = vec![0; 4 * (layout.word_count() + scales.len())];
    let (codes, tail) = bytes.split_at_mut(4 * layout.word_count());
    codes
        .par_chunks_mut(TASK)
        .zip(matrix.words().par_chunks(TASK / 4))
        .for_each(|(bytes, words)| {
            let (bytes, _) = bytes.as_chunks_mut::<4>();
            for (bytes, &word) in bytes.iter_mut().zip(words) {
                *bytes = minus_one(word).to_le_bytes();
            }
        });
    tail.copy_from_slice(bytemuck::cast_slice(scales));
    Ok(bytes)
}

fn check_sizes(in_features: usize, scale: &ScaleGranularity) -> Result<(), CodecError> {
    check::multiple(FORMAT, "in_features", in_features, WEIGHTS_PER_WORD)?;
    match scale {
        ScaleGranularity::Group { size } if *size > MAX_BLOCK => Err(CodecError::Granularity {
            format: FORMAT,
            scale: scale.clone(),
        }),
        ScaleGranularity::Group { size } => {
            check::multiple(FORMAT, "in_features", in_features, *size)
        }
        _ => Ok(()),
    }
}
