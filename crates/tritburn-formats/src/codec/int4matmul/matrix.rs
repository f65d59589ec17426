//! Unsigned codes with scales and zero points per group.

use half::f16;
use rayon::prelude::*;

use super::FORMAT;
use crate::affine::{AffineLayout, AffineMatrix, Bits, Floats, UNIT};
use crate::codec::grouped::{Grouped, dense, groups_first, in_order};
use crate::codec::{CodecError, Rounding, check};
use crate::error::LayoutError;

/// A `[out, in]` matrix of unsigned codes. Always valid: codes fit their bits, and there are as
/// many scales and zeros as groups. Scales and zeros may be any f16.
#[derive(Clone, Debug, PartialEq)]
pub struct IntMatrix {
    out_features: usize,
    in_features: usize,
    bits: Bits,
    group_size: Option<usize>,
    codes: Vec<u8>,
    scales: Vec<f16>,
    zeros: Vec<f16>,
}

impl IntMatrix {
    /// A matrix of row-major `[out, in]` codes with scales and zeros `[groups, out]`, where
    /// `groups = ceil(in / group_size)`, or 1 without a group size. A group size is a multiple of
    /// 64, `in` of 32.
    ///
    /// # Errors
    /// [`CodecError::Layout`] for an empty matrix, [`CodecError::Multiple`],
    /// [`CodecError::Length`], [`CodecError::InvalidCode`] for the first code that is too large.
    pub fn new(
        [out_features, in_features]: [usize; 2],
        bits: Bits,
        group_size: Option<usize>,
        codes: Vec<u8>,
        scales: Vec<f16>,
        zeros: Vec<f16>,
    ) -> Result<Self, CodecError> {
        check_shape(out_features, in_features, group_size)?;
        check::length(FORMAT, "codes", codes.len(), out_features, in_features)?;
        let groups = group_size.map_or(1, |size| in_features.div_ceil(size));
        check::length(FORMAT, "scales", scales.len(), groups, out_features)?;
        check::length(FORMAT, "zeros", zeros.len(), groups, out_features)?;
        let limit = 1 << bits as u8;
        if let Some(at) = codes.par_iter().position_first(|&code| code >= limit) {
            return Err(CodecError::InvalidCode {
                format: FORMAT,
                row: at / in_features,
                col: at % in_features,
                code: codes[at].into(),
            });
        }
        Ok(Self {
            out_features,
            in_features,
            bits,
            group_size,
            codes,
            scales,
            zeros,
        })
    }

    /// Rows of the matrix.
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// Columns of the matrix.
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// Bits of a code.
    pub fn bits(&self) -> Bits {
        self.bits
    }

    /// Inputs per group, `None` for one group.
    pub fn group_size(&self) -> Option<usize> {
        self.group_size
    }

    /// Row-major `[out, in]`.
    pub fn codes(&self) -> &[u8] {
        &self.codes
    }

    /// `[groups, out]`.
    pub fn scales(&self) -> &[f16] {
        &self.scales
    }

    /// `[groups, out]`; they need not be integers.
    pub fn zeros(&self) -> &[f16] {
        &self.zeros
    }

    /// The real weights, row-major `[out, in]`, in f32 where the kernels round every step to f16:
    /// `(code - zero) · scale`, or in exponent mode `±2^e · |scale| + zero`.
    ///
    /// # Errors
    /// [`CodecError::BadScale`] for the first scale that is not finite.
    pub fn dequantize(&self) -> Result<Vec<f32>, CodecError> {
        check::finite(&self.scales.iter().map(|s| s.to_f32()).collect::<Vec<_>>())?;
        let (n, k) = (self.out_features, self.in_features);
        let span = self.group_size.unwrap_or(k);
        let mut weights = vec![0.0; self.codes.len()];
        weights
            .par_chunks_mut(k)
            .zip(self.codes.par_chunks(k))
            .enumerate()
            .for_each(|(row, (weights, codes))| {
                let groups = weights.chunks_mut(span).zip(codes.chunks(span));
                for (group, (weights, codes)) in groups.enumerate() {
                    let scale = self.scales[group * n + row].to_f32();
                    let zero = self.zeros[group * n + row].to_f32();
                    for (weight, &code) in weights.iter_mut().zip(codes) {
                        *weight = match scale < 0.0 {
                            false => (f32::from(code) - zero) * scale,
                            true => signed_power(code, self.bits) * -scale + zero,
                        };
                    }
                }
            });
        Ok(weights)
    }

    /// The canonical matrix, with f16 scales and zero points.
    ///
    /// # Errors
    /// [`CodecError::ExponentMode`] for the first negative scale, [`CodecError::Pack`] for a scale
    /// that is 0 or not finite, or a zero point that is not finite.
    pub fn to_affine(&self) -> Result<AffineMatrix, CodecError> {
        self.to_grouped(vec![], Ok)
    }

    pub(super) fn to_grouped(
        &self,
        mask: Vec<u32>,
        sparsity: impl Fn(AffineLayout) -> Result<AffineLayout, LayoutError>,
    ) -> Result<AffineMatrix, CodecError> {
        let negative = |s: &f16| s.to_f32() < 0.0;
        if let Some(index) = self.scales.iter().position(negative) {
            let value = self.scales[index].to_f32();
            return Err(CodecError::ExponentMode { index, value });
        }
        let shape = [self.out_features, self.in_features];
        let layout = sparsity(AffineLayout::new(shape, self.bits, self.group_size)?)?;
        Grouped {
            layout,
            codes: self.codes.clone(),
            mask,
            scales: &Floats::F16(self.scales.clone()),
            zeros: &Floats::F16(self.zeros.clone()),
            order: None,
        }
        .into_matrix()
    }

    /// The matrix that stores the codes of a canonical one. Those of a sparse one are for
    /// [`SparseInt4::from_affine`](super::SparseInt4::from_affine).
    ///
    /// # Errors
    /// [`CodecError::NoPlace`] for a mask, an order of inputs or a negative scale,
    /// [`CodecError::Multiple`] for sizes that do not fit, and what
    /// [`Rounding::f16`](crate::codec::Rounding::f16) gives for scales and zero points.
    pub fn from_affine(matrix: &AffineMatrix, rounding: Rounding) -> Result<Self, CodecError> {
        dense(FORMAT, matrix)?;
        Self::of_groups(matrix, rounding)
    }

    pub(super) fn of_groups(matrix: &AffineMatrix, rounding: Rounding) -> Result<Self, CodecError> {
        in_order(FORMAT, matrix)?;
        let layout = matrix.layout();
        let (scales, zeros) = groups_first(matrix);
        let scales = scales.to_f32();
        if scales.iter().any(|&scale| scale < 0.0) {
            return Err(CodecError::NoPlace {
                format: FORMAT,
                what: "a negative scale, which means exponent mode",
            });
        }
        let halves = |values: Vec<f32>| -> Result<Vec<f16>, CodecError> {
            let half = |(i, value)| rounding.f16(i, value);
            values.into_iter().enumerate().map(half).collect()
        };
        Self::new(
            [layout.out_features(), layout.in_features()],
            layout.bits(),
            layout.group_size(),
            matrix.codes(),
            halves(scales)?,
            halves(zeros)?,
        )
    }
}

/// `±2^e`: the top bit of a code is the sign, the others are the exponent.
fn signed_power(code: u8, bits: Bits) -> f32 {
    let sign = bits.midpoint();
    let power = f32::from(1u8 << (code & (sign - 1)));
    if code & sign == 0 { power } else { -power }
}

/// Refuses what no matrix can be.
pub(super) fn check_shape(
    out_features: usize,
    in_features: usize,
    group_size: Option<usize>,
) -> Result<(), CodecError> {
    if out_features == 0 || in_features == 0 {
        let empty = LayoutError::Empty {
            out_features,
            in_features,
        };
        return Err(empty.into());
    }
    check::multiple(FORMAT, "in_features", in_features, UNIT)?;
    match group_size {
        Some(0) => Err(LayoutError::GroupSize { size: 0 }.into()),
        Some(size) => check::multiple(FORMAT, "group size", size, 64),
        None => Ok(()),
    }
}
