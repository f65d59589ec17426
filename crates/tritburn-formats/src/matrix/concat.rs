//! Fused projections: matrices that share their input, as one, and back.

use std::borrow::Borrow;

use super::PackedMatrix;
use crate::error::{LayoutError, MatrixError};
use crate::layout::PackedLayout;
use crate::scale::ScaleGranularity;

/// Stacks matrices of equal `in_features` and code along their rows (q|k|v, gate|up). No code or
/// scale changes: scales per tensor or segment become
/// [`Segments`](ScaleGranularity::Segments), scales per row or per group of one size stay so.
///
/// # Errors
/// [`MatrixError::NothingToConcat`], [`MatrixError::ConcatShape`], [`MatrixError::ConcatScale`] for
/// scales that do not go together, [`MatrixError::Layout`] if the result is too large.
pub fn concat_rows<M: Borrow<PackedMatrix>>(parts: &[M]) -> Result<PackedMatrix, MatrixError> {
    let first = parts.first().ok_or(MatrixError::NothingToConcat)?.borrow();
    let (k, code) = (first.layout.in_features(), first.layout.code());
    let mut scale = segments_of(&first.layout);
    let (mut out, mut words, mut scales) = (0, Vec::new(), Vec::new());
    for (index, part) in parts.iter().enumerate() {
        let PackedMatrix {
            layout,
            words: part_words,
            scales: part_scales,
        } = part.borrow();
        if (layout.in_features(), layout.code()) != (k, code) {
            return Err(MatrixError::ConcatShape {
                index,
                in_features: layout.in_features(),
                code: layout.code(),
                first_in_features: k,
                first_code: code,
            });
        }
        if index > 0 {
            match (&mut scale, segments_of(layout)) {
                (
                    ScaleGranularity::Segments { rows },
                    ScaleGranularity::Segments { rows: more },
                ) => rows.extend(more),
                (scale, found) if *scale == found => {}
                _ => {
                    return Err(MatrixError::ConcatScale {
                        index,
                        found: layout.scale().clone(),
                        first: first.layout.scale().clone(),
                    });
                }
            }
        }
        out += layout.out_features();
        words.extend_from_slice(part_words);
        scales.extend_from_slice(part_scales);
    }
    let layout = PackedLayout::new(out, k, code, scale)?;
    Ok(PackedMatrix::from_quantizer(layout, words, scales))
}

/// Cuts a matrix into consecutive parts of `rows[i]` rows: the inverse of [`concat_rows`]. A part
/// that lies in one segment (or comes from a matrix with one scale) has one scale per tensor.
///
/// # Errors
/// [`MatrixError::Layout`] if `rows` are not positive or do not add up to the matrix.
pub fn split_rows(matrix: &PackedMatrix, rows: &[usize]) -> Result<Vec<PackedMatrix>, MatrixError> {
    let layout = &matrix.layout;
    ScaleGranularity::Segments {
        rows: rows.to_vec(),
    }
    .validate(layout.out_features())?;
    let mut start = 0;
    rows.iter()
        .map(|&count| {
            let range = start..start + count;
            start = range.end;
            let (scale, scales) = scales_of_rows(matrix, range.clone());
            let words_per_row = layout.words_per_row();
            let words = &matrix.words[range.start * words_per_row..range.end * words_per_row];
            let part = PackedLayout::new(count, layout.in_features(), layout.code(), scale)?;
            Ok(PackedMatrix::from_quantizer(part, words.to_vec(), scales))
        })
        .collect::<Result<_, LayoutError>>()
        .map_err(MatrixError::from)
}

/// The granularity with "one scale for all" written as one segment.
fn segments_of(layout: &PackedLayout) -> ScaleGranularity {
    match layout.scale() {
        ScaleGranularity::Tensor => ScaleGranularity::Segments {
            rows: vec![layout.out_features()],
        },
        other => other.clone(),
    }
}

fn scales_of_rows(
    matrix: &PackedMatrix,
    range: std::ops::Range<usize>,
) -> (ScaleGranularity, Vec<f32>) {
    let per_row = matrix
        .layout
        .scale()
        .groups_per_row(matrix.layout.in_features());
    match matrix.layout.scale() {
        ScaleGranularity::Tensor => (ScaleGranularity::Tensor, matrix.scales.clone()),
        same @ (ScaleGranularity::Row | ScaleGranularity::Group { .. }) => (
            same.clone(),
            matrix.scales[range.start * per_row..range.end * per_row].to_vec(),
        ),
        ScaleGranularity::Segments { rows } => {
            let mut start = 0;
            let (lengths, scales): (Vec<usize>, Vec<f32>) = rows
                .iter()
                .zip(&matrix.scales)
                .filter_map(|(&rows, &scale)| {
                    let end = start + rows;
                    let common = end.min(range.end).saturating_sub(start.max(range.start));
                    start = end;
                    (common > 0).then_some((common, scale))
                })
                .unzip();
            match lengths.len() {
                1 => (ScaleGranularity::Tensor, scales),
                _ => (ScaleGranularity::Segments { rows: lengths }, scales),
            }
        }
    }
}
