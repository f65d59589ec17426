//! Checks that every codec makes.

use super::error::CodecError;
use crate::code::WeightCode;
use crate::error::MatrixError;
use crate::layout::{PackedLayout, WEIGHTS_PER_WORD};
use crate::matrix::PackedMatrix;
use crate::scale::ScaleGranularity;

/// A ternary layout.
pub(super) fn layout(
    out_features: usize,
    in_features: usize,
    scale: ScaleGranularity,
) -> Result<PackedLayout, CodecError> {
    let layout = PackedLayout::new(out_features, in_features, WeightCode::Ternary, scale)?;
    Ok(layout)
}

/// Refuses any length but `count · unit`.
pub(super) fn length(
    format: &'static str,
    what: &'static str,
    found: usize,
    count: usize,
    unit: usize,
) -> Result<(), CodecError> {
    if count.checked_mul(unit) == Some(found) {
        return Ok(());
    }
    Err(CodecError::Length {
        format,
        what,
        found,
        expected: count.saturating_mul(unit),
    })
}

/// Refuses a value that `multiple` does not divide.
pub(super) fn multiple(
    format: &'static str,
    what: &'static str,
    value: usize,
    multiple: usize,
) -> Result<(), CodecError> {
    if value.is_multiple_of(multiple) {
        return Ok(());
    }
    Err(CodecError::Multiple {
        format,
        what,
        value,
        multiple,
    })
}

/// Refuses NaN and infinite scales.
pub(super) fn finite(scales: &[f32]) -> Result<(), CodecError> {
    match scales.iter().position(|s| !s.is_finite()) {
        None => Ok(()),
        Some(index) => Err(CodecError::BadScale {
            index,
            value: scales[index],
        }),
    }
}

/// Refuses codes other than ternary.
pub(super) fn ternary(format: &'static str, matrix: &PackedMatrix) -> Result<(), CodecError> {
    match matrix.layout().code() {
        WeightCode::Ternary => Ok(()),
        code => Err(CodecError::CodeTable { format, code }),
    }
}

/// The scale of a matrix for a format that has one: all scales must be the same.
pub(super) fn one_scale(format: &'static str, matrix: &PackedMatrix) -> Result<f32, CodecError> {
    let scales = matrix.scales();
    finite(scales)?;
    let first = scales[0];
    match scales.iter().position(|&s| s != first) {
        None => Ok(first),
        Some(index) => Err(CodecError::ScalesDiffer {
            format,
            index,
            value: scales[index],
            first,
        }),
    }
}

/// The matrix of decoded words. A code 3 among them is `stored` in the format.
pub(super) fn matrix(
    format: &'static str,
    layout: PackedLayout,
    words: Vec<u32>,
    scales: Vec<f32>,
    stored: u32,
) -> Result<PackedMatrix, CodecError> {
    finite(&scales)?;
    PackedMatrix::new(layout, words, scales).map_err(|error| match error {
        MatrixError::InvalidCode { row, col, .. } => CodecError::InvalidCode {
            format,
            row,
            col,
            code: stored,
        },
        other => other.into(),
    })
}

/// Bits of the last word of a row that hold weights.
pub(super) fn last_word_mask(in_features: usize) -> u32 {
    match in_features % WEIGHTS_PER_WORD {
        0 => u32::MAX,
        used => (1 << (2 * used)) - 1,
    }
}

/// A word of padding, which is also a word of zero weights.
pub(super) const ZEROS: u32 = 0x5555_5555;

/// Rows (or byte rows) of one task, so that it is worth starting.
pub(super) fn rows_per_task(in_features: usize) -> usize {
    (1usize << 16).div_ceil(in_features)
}
