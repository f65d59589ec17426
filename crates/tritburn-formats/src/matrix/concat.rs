//! Fused projections: matrices that share their input, as one, and back.

use std::borrow::Borrow;

use super::PackedMatrix;
use crate::error::{LayoutError, MatrixError};
use crate::layout::PackedLayout;
use crate::scale::{MAX_SEGMENTS, ScaleGranularity};

/// Stacks matrices of equal `in_features` and code along their rows (q|k|v, gate|up). No code
/// changes, and no real weight. Scales keep the finest granularity that a part has
/// ([`PackedMatrix::refine`] copies those of the others):
///
/// | parts | result |
/// |---|---|
/// | Tensor and Segments only | [`Segments`](ScaleGranularity::Segments), or Row if they are more than [`MAX_SEGMENTS`] |
/// | also Row | Row |
/// | also Group | Group, whose size is the greatest common divisor of the parts' |
///
/// Groups of `in` inputs or more count as rows beside parts of other granularity.
///
/// # Errors
/// [`MatrixError::NothingToConcat`], [`MatrixError::ConcatShape`], [`MatrixError::Layout`] if the
/// result is too large.
///
/// # Examples
///
/// ```
/// use tritburn_formats::matrix::concat_rows;
/// use tritburn_formats::quantize::pack_weights;
/// use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};
///
/// let part = |scale, weight: f32| {
///     let layout = PackedLayout::new(1, 32, WeightCode::Ternary, scale)?;
///     Ok::<_, Box<dyn std::error::Error>>(pack_weights(&[weight; 32], &layout)?)
/// };
/// let q = part(ScaleGranularity::Group { size: 16 }, 0.5)?;
/// let k = part(ScaleGranularity::Tensor, 2.0)?;
/// let fused = concat_rows(&[q, k])?;
/// assert_eq!(fused.layout().scale(), &ScaleGranularity::Group { size: 16 });
/// assert_eq!(fused.scales(), [0.5, 0.5, 2.0, 2.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn concat_rows<M: Borrow<PackedMatrix>>(parts: &[M]) -> Result<PackedMatrix, MatrixError> {
    let first = parts.first().ok_or(MatrixError::NothingToConcat)?.borrow();
    let (k, code) = (first.layout.in_features(), first.layout.code());
    for (index, part) in parts.iter().enumerate() {
        let layout = &part.borrow().layout;
        if (layout.in_features(), layout.code()) != (k, code) {
            return Err(MatrixError::ConcatShape {
                index,
                in_features: layout.in_features(),
                code: layout.code(),
                first_in_features: k,
                first_code: code,
            });
        }
    }
    let out = parts.iter().map(|p| p.borrow().layout.out_features()).sum();
    let layout = PackedLayout::new(out, k, code, common_scale(parts))?;
    let mut words = Vec::with_capacity(layout.word_count());
    let mut scales = Vec::with_capacity(layout.scale_count());
    for part in parts {
        let part = part.borrow();
        words.extend_from_slice(&part.words);
        match layout.scale() {
            // The parts' own scales, one behind the other.
            ScaleGranularity::Segments { .. } => scales.extend_from_slice(&part.scales),
            shared => scales.extend(part.refined_scales(shared)?),
        }
    }
    Ok(PackedMatrix::from_quantizer(layout, words, scales))
}

/// The coarsest granularity of the stacked parts that is none coarser than any of theirs.
fn common_scale<M: Borrow<PackedMatrix>>(parts: &[M]) -> ScaleGranularity {
    let layouts = || parts.iter().map(|part| &part.borrow().layout);
    let first = parts[0].borrow().layout.scale();
    let shared = matches!(
        first,
        ScaleGranularity::Row | ScaleGranularity::Group { .. }
    );
    if shared && layouts().all(|layout| layout.scale() == first) {
        return first.clone();
    }
    let mut groups: Option<usize> = None;
    let mut segments = Some(Vec::new());
    for layout in layouts() {
        match layout.scale() {
            ScaleGranularity::Tensor => segments
                .iter_mut()
                .for_each(|rows| rows.push(layout.out_features())),
            ScaleGranularity::Segments { rows } => {
                segments.iter_mut().for_each(|all| all.extend(rows));
            }
            ScaleGranularity::Row => segments = None,
            ScaleGranularity::Group { size } => {
                segments = None;
                if *size < layout.in_features() {
                    // All sizes are multiples of 16, so their divisor is one too.
                    groups = Some(groups.map_or(*size, |other| gcd(other, *size)));
                }
            }
        }
    }
    match (groups, segments) {
        (Some(size), _) => ScaleGranularity::Group { size },
        (None, Some(rows)) if rows.len() <= MAX_SEGMENTS => ScaleGranularity::Segments { rows },
        (None, _) => ScaleGranularity::Row,
    }
}

fn gcd(a: usize, b: usize) -> usize {
    match b {
        0 => a,
        _ => gcd(b, a % b),
    }
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
