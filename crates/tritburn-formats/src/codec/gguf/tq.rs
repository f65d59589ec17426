//! What TQ1_0 and TQ2_0 have in common: 256 consecutive weights of a row a block, and an f16 scale
//! at its end.

use half::f16;
use rayon::prelude::*;

use crate::codec::check::{self, ZEROS};
use crate::codec::{CodecError, Rounding};
use crate::layout::PackedLayout;
use crate::matrix::PackedMatrix;
use crate::scale::ScaleGranularity;

/// Weights of a block.
pub(super) const BLOCK: usize = 256;

/// Words of a block.
pub(super) const WORDS: usize = BLOCK / 16;

/// Blocks to a task.
pub(super) const TASK: usize = 256;

/// Layout with a scale per block, of `bytes` in blocks of `block_bytes`.
pub(super) fn layout(
    format: &'static str,
    bytes: &[u8],
    block_bytes: usize,
    out_features: usize,
    in_features: usize,
) -> Result<PackedLayout, CodecError> {
    let layout = check::layout(
        out_features,
        in_features,
        ScaleGranularity::Group { size: BLOCK },
    )?;
    check::multiple(format, "in_features", in_features, BLOCK)?;
    check::length(
        format,
        "bytes",
        bytes.len(),
        layout.scale_count(),
        block_bytes,
    )?;
    Ok(layout)
}

/// The scale in the last two bytes of every block.
pub(super) fn scales(bytes: &[u8], block_bytes: usize) -> Vec<f32> {
    let scale = |block: &[u8]| match block.last_chunk() {
        Some(&d) => f16::from_le_bytes(d).to_f32(),
        None => f32::NAN,
    };
    bytes
        .par_chunks(block_bytes)
        .with_min_len(TASK)
        .map(scale)
        .collect()
}

/// One scale for the matrix, if all blocks that are not all zero have the same.
pub(super) fn collapse(matrix: PackedMatrix) -> Result<PackedMatrix, CodecError> {
    let blocks = matrix.words().par_chunks(WORDS).zip(matrix.scales());
    let used = blocks
        .with_min_len(TASK)
        .filter(|(words, _)| !is_zero(words))
        .map(|(_, &d)| d);
    let first = used.clone().find_first(|_| true).unwrap_or(0.0);
    if !used.all(|d| d == first) {
        return Ok(matrix);
    }
    let (layout, words, _) = matrix.into_parts();
    let (out, k) = (layout.out_features(), layout.in_features());
    let layout = check::layout(out, k, ScaleGranularity::Tensor)?;
    Ok(PackedMatrix::from_quantizer(layout, words, vec![first]))
}

/// The scale of every block to store: 0 for blocks of zeros.
pub(super) fn stored_scales(
    format: &'static str,
    matrix: &PackedMatrix,
    rounding: Rounding,
) -> Result<Vec<f16>, CodecError> {
    check::ternary(format, matrix)?;
    let layout = matrix.layout();
    let k = layout.in_features();
    check::multiple(format, "in_features", k, BLOCK)?;
    if !layout.scale_span().is_multiple_of(BLOCK) {
        return Err(CodecError::Granularity {
            format,
            scale: layout.scale().clone(),
        });
    }
    let mut stored = Vec::with_capacity(matrix.words().len() / WORDS);
    for (row, words) in matrix.words().chunks(layout.words_per_row()).enumerate() {
        let first = layout.scale().index(row, 0, k);
        for (block, words) in words.chunks(WORDS).enumerate() {
            let index = first + block * BLOCK / layout.scale_span();
            stored.push(match is_zero(words) {
                true => f16::ZERO,
                false => rounding.f16(index, matrix.scales()[index])?,
            });
        }
    }
    Ok(stored)
}

fn is_zero(words: &[u32]) -> bool {
    words.iter().all(|&word| word == ZEROS)
}
