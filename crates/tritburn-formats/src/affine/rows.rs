//! Rows of affine matrices: fused, in another order, multiplied.

use std::borrow::Borrow;

use super::float::{FloatType, Floats};
use super::layout::AffineLayout;
use super::matrix::{AffineMatrix, AffineParts};
use crate::error::MatrixError;
use crate::matrix::reorder::{check_order, gather_rows};

/// Stacks matrices that multiply the same input along their rows (q|k|v, gate|up). They are stored
/// alike: bits, groups, parts, type of floats and order of columns are the same.
///
/// # Errors
/// [`MatrixError::NothingToConcat`], [`MatrixError::ConcatAffine`] with the first difference,
/// [`MatrixError::Layout`] if the result is too large.
///
/// # Examples
///
/// ```
/// use tritburn_formats::affine::{AffineLayout, Bits, concat_rows};
/// use tritburn_formats::quantize::affine::round_to_nearest;
///
/// let part = |rows| round_to_nearest(&vec![0.5; 32 * rows], &AffineLayout::new([rows, 32], Bits::Four, None)?);
/// let fused = concat_rows(&[part(2)?, part(1)?])?;
/// assert_eq!(fused.layout().out_features(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn concat_rows<M: Borrow<AffineMatrix>>(parts: &[M]) -> Result<AffineMatrix, MatrixError> {
    let first = parts.first().ok_or(MatrixError::NothingToConcat)?.borrow();
    for (index, part) in parts.iter().enumerate() {
        if let Some(what) = difference(first, part.borrow()) {
            return Err(MatrixError::ConcatAffine { index, what });
        }
    }
    let all = || parts.iter().map(|part| part.borrow().parts());
    let out = all().map(|part| part.layout.out_features()).sum();
    Ok(AffineMatrix::from_checked(AffineParts {
        layout: first.layout().with_rows(out)?,
        words: all().flat_map(|part| &part.words).copied().collect(),
        mask: all().flat_map(|part| &part.mask).copied().collect(),
        scales: Floats::concat(all().map(|part| &part.scales), first.layout().floats()),
        zeros: first.zeros().map(|zeros| {
            Floats::concat(
                all().filter_map(|part| part.zeros.as_ref()),
                zeros.float_type(),
            )
        }),
        order: first.order().map(<[u32]>::to_vec),
    }))
}

/// A number of a layout.
type Number = fn(&AffineLayout) -> usize;

/// What keeps two matrices from being one.
fn difference(first: &AffineMatrix, other: &AffineMatrix) -> Option<&'static str> {
    let (a, b) = (first.layout(), other.layout());
    let differs: [(&str, Number); 5] = [
        ("inputs", AffineLayout::in_features),
        ("bits", |layout| layout.bits().count()),
        ("groups", AffineLayout::span),
        ("zero points", |layout| usize::from(layout.has_zeros())),
        ("sparsity", |layout| usize::from(layout.is_sparse())),
    ];
    let found = differs.into_iter().find(|(_, of)| of(a) != of(b));
    match found {
        Some((what, _)) => Some(what),
        None if a.floats() != b.floats() => Some("types of scales"),
        None if first.order() != other.order() => Some("orders of columns"),
        None => None,
    }
}

/// The matrix whose row `i` is row `order[i]`, with its groups.
///
/// # Errors
/// [`MatrixError::RowOrder`] if `order` does not name every row once.
pub fn reorder_rows(matrix: &AffineMatrix, order: &[usize]) -> Result<AffineMatrix, MatrixError> {
    let layout = matrix.layout();
    check_order(layout.out_features(), order)?;
    let groups = layout.groups_per_row();
    let floats = |floats: &Floats| floats.gather(|i| order[i / groups] * groups + i % groups);
    let mask = match layout.is_sparse() {
        true => gather_rows(matrix.mask(), layout.units_per_row(), order),
        false => vec![],
    };
    Ok(AffineMatrix::from_checked(AffineParts {
        words: gather_rows(matrix.words(), layout.words_per_row(), order),
        mask,
        scales: floats(matrix.scales()),
        zeros: matrix.zeros().map(floats),
        order: matrix.order().map(<[u32]>::to_vec),
        layout: layout.clone(),
    }))
}

/// The matrix times a number, with scales and zero points in f32.
///
/// # Errors
/// [`MatrixError::GroupScale`] for a scale that becomes 0 or infinite.
pub fn scale_rows(matrix: &AffineMatrix, factor: f32) -> Result<AffineMatrix, MatrixError> {
    let parts = matrix.parts().clone();
    let scales = parts
        .scales
        .to_f32()
        .into_iter()
        .map(|scale| scale * factor);
    AffineMatrix::new(AffineParts {
        layout: parts.layout.with_floats(FloatType::F32),
        scales: Floats::F32(scales.collect()),
        zeros: parts.zeros.map(|zeros| Floats::F32(zeros.to_f32())),
        ..parts
    })
}
