//! Affine matrices of formats that store codes, and scales and zero points `[groups, out]`.

use super::error::CodecError;
use crate::affine::{AffineLayout, AffineMatrix, AffineParts, Floats, Sparsity, pack_affine_codes};

/// What a format stores, the codes unpacked.
pub(super) struct Grouped<'a> {
    /// The dense or sparse layout, without zero points and order.
    pub layout: AffineLayout,
    /// Row-major `[out, in]`, in the order of the inputs.
    pub codes: Vec<u8>,
    /// Row-major `[out, in / 32]` of a sparse matrix.
    pub mask: Vec<u32>,
    /// `[groups, out]`.
    pub scales: &'a Floats,
    /// `[groups, out]`, of the type of the scales.
    pub zeros: &'a Floats,
    /// The input of each column of the canonical matrix.
    pub order: Option<Vec<u32>>,
}

impl Grouped<'_> {
    /// The canonical matrix. Zero points that all are the middle of the codes are left out.
    pub(super) fn into_matrix(self) -> Result<AffineMatrix, CodecError> {
        let mut layout = self.layout.with_floats(self.scales.float_type());
        let (out, groups) = (layout.out_features(), layout.groups_per_row());
        let by_rows = |stored: &Floats| stored.gather(|i| i % groups * out + i / groups);
        let midpoint = f32::from(layout.bits().midpoint());
        let zeros = (0..self.zeros.len()).any(|i| self.zeros.get(i) != Some(midpoint));
        if zeros {
            layout = layout.with_zeros();
        }
        let mut codes = self.codes;
        if let Some(order) = &self.order {
            layout = layout.with_order();
            reorder_columns(&mut codes, order, layout.in_features());
        }
        Ok(AffineMatrix::new(AffineParts {
            words: pack_affine_codes(&codes, &self.mask, &layout)?,
            scales: by_rows(self.scales),
            zeros: zeros.then(|| by_rows(self.zeros)),
            mask: self.mask,
            order: self.order,
            layout,
        })?)
    }
}

/// Column `c` becomes what column `order[c]` was.
fn reorder_columns(codes: &mut [u8], order: &[u32], k: usize) {
    let mut row = vec![0; k];
    for codes in codes.chunks_exact_mut(k) {
        row.copy_from_slice(codes);
        for (code, &from) in codes.iter_mut().zip(order) {
            *code = row[from as usize];
        }
    }
}

/// Scales and zero points of a matrix in the order `[groups, out]`, in f32.
pub(super) fn groups_first(matrix: &AffineMatrix) -> (Floats, Vec<f32>) {
    let layout = matrix.layout();
    let (out, groups) = (layout.out_features(), layout.groups_per_row());
    let from = |i: usize| i % out * groups + i / out;
    let (_, zeros) = matrix.groups();
    let zeros = (0..zeros.len()).map(|i| zeros[from(i)]).collect();
    (matrix.scales().gather(from), zeros)
}

/// Refuses what no format but the canonical one has.
pub(super) fn dense(format: &'static str, matrix: &AffineMatrix) -> Result<(), CodecError> {
    match matrix.layout().sparsity() {
        Sparsity::Dense => Ok(()),
        Sparsity::Half32 => Err(CodecError::NoPlace {
            format,
            what: "a mask",
        }),
    }
}

/// Refuses columns in an order of their own.
pub(super) fn in_order(format: &'static str, matrix: &AffineMatrix) -> Result<(), CodecError> {
    match matrix.order() {
        None => Ok(()),
        Some(_) => Err(CodecError::NoPlace {
            format,
            what: "an order of inputs",
        }),
    }
}

/// A zero point as an integer of a range. `row` and `group` are for the error.
pub(super) fn whole_zero(
    format: &'static str,
    [row, group]: [usize; 2],
    zero: f32,
    [min, max]: [u8; 2],
) -> Result<u8, CodecError> {
    let whole = zero as u8;
    if f32::from(whole) == zero && (min..=max).contains(&whole) {
        return Ok(whole);
    }
    Err(CodecError::ZeroRange {
        format,
        row,
        group,
        zero,
        min,
        max,
    })
}
