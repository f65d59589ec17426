//! Rows in another order.

use super::PackedMatrix;
use crate::error::MatrixError;
use crate::scale::ScaleGranularity;

/// The order that takes the rows of a q or k projection from half-split rotary embeddings
/// (transformers) to interleaved ones (BitNet's GPU model): with heads of `head_size` rows D, new
/// row `h·D + 2d + l` is old row `h·D + l·(D/2) + d`, for `l` in 0..2 and `d < D/2`.
///
/// Entry `i` of an order is the old row that becomes row `i`.
///
/// # Errors
/// [`MatrixError::HeadSize`] unless `head_size` is even and positive and divides `rows`.
pub fn rotary_interleaved(rows: usize, head_size: usize) -> Result<Vec<usize>, MatrixError> {
    order_of(rows, head_size, |i| i % 2 * (head_size / 2) + i / 2)
}

/// The order that undoes [`rotary_interleaved`].
///
/// # Errors
/// As [`rotary_interleaved`].
pub fn rotary_half_split(rows: usize, head_size: usize) -> Result<Vec<usize>, MatrixError> {
    order_of(rows, head_size, |i| {
        i % (head_size / 2) * 2 + i / (head_size / 2)
    })
}

fn order_of(
    rows: usize,
    head_size: usize,
    within: impl Fn(usize) -> usize,
) -> Result<Vec<usize>, MatrixError> {
    if head_size == 0 || !head_size.is_multiple_of(2) || !rows.is_multiple_of(head_size) {
        return Err(MatrixError::HeadSize { rows, head_size });
    }
    let head = |row: usize| row / head_size * head_size;
    Ok((0..rows)
        .map(|row| head(row) + within(row % head_size))
        .collect())
}

/// The matrix whose row `i` is row `order[i]`, with its scales.
///
/// # Errors
/// [`MatrixError::RowOrder`] if `order` does not name every row once, or takes a row to another
/// segment.
pub fn reorder_rows(matrix: &PackedMatrix, order: &[usize]) -> Result<PackedMatrix, MatrixError> {
    let layout = &matrix.layout;
    let (rows, k) = (layout.out_features(), layout.in_features());
    check_order(rows, order)?;
    let scales = match layout.scale() {
        ScaleGranularity::Tensor => matrix.scales.clone(),
        ScaleGranularity::Row | ScaleGranularity::Group { .. } => {
            gather_rows(&matrix.scales, layout.scale().groups_per_row(k), order)
        }
        ScaleGranularity::Segments { rows: segments } => {
            let segment_of: Vec<usize> = segments
                .iter()
                .enumerate()
                .flat_map(|(i, &rows)| std::iter::repeat_n(i, rows))
                .collect();
            let moved = |&(to, &from): &(usize, &usize)| segment_of[to] != segment_of[from];
            if let Some((row, _)) = order.iter().enumerate().find(moved) {
                return Err(MatrixError::RowOrder { row, rows });
            }
            matrix.scales.clone()
        }
    };
    let words = gather_rows(&matrix.words, layout.words_per_row(), order);
    Ok(PackedMatrix::from_quantizer(layout.clone(), words, scales))
}

/// Row-major data of `width` values a row, whose row `i` is row `order[i]` of `data`: what
/// [`reorder_rows`] does, for dense weights.
///
/// # Errors
/// [`MatrixError::Length`] if `data` is not `order.len() · width` long, [`MatrixError::RowOrder`] if
/// `order` does not name every row once.
pub fn reorder_dense_rows<T: Copy>(
    data: &[T],
    width: usize,
    order: &[usize],
) -> Result<Vec<T>, MatrixError> {
    let expected = order.len().saturating_mul(width);
    if data.len() != expected {
        return Err(MatrixError::Length {
            what: "values of the rows",
            found: data.len(),
            expected,
        });
    }
    check_order(order.len(), order)?;
    Ok(gather_rows(data, width, order))
}

pub(crate) fn check_order(rows: usize, order: &[usize]) -> Result<(), MatrixError> {
    let mut seen = vec![false; rows];
    for (row, &from) in order.iter().enumerate() {
        match seen.get_mut(from) {
            Some(seen) if !*seen => *seen = true,
            _ => return Err(MatrixError::RowOrder { row, rows }),
        }
    }
    if order.len() != rows {
        return Err(MatrixError::RowOrder {
            row: order.len(),
            rows,
        });
    }
    Ok(())
}

pub(crate) fn gather_rows<T: Copy>(data: &[T], width: usize, order: &[usize]) -> Vec<T> {
    let row = |&from: &usize| &data[from * width..][..width];
    order.iter().flat_map(row).copied().collect()
}
