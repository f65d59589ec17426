//! Unsigned codes with scales and zero points per group.

use half::f16;
use rayon::prelude::*;

use super::{FORMAT, UNIT};
use crate::codec::{CodecError, check};
use crate::error::LayoutError;

/// Bits of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Bits {
    /// Codes 0..=3.
    Two = 2,
    /// Codes 0..=7.
    Three = 3,
    /// Codes 0..=15.
    Four = 4,
}

impl Bits {
    /// Words that 32 codes fill.
    pub(super) fn words(self) -> usize {
        self as usize
    }
}

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

    /// The real weights, row-major `[out, in]`: `(code - zero) · scale` in f32, where the
    /// kernels round both steps to f16.
    ///
    /// # Errors
    /// [`CodecError::ExponentMode`] for the first negative scale, [`CodecError::BadScale`] for one
    /// that is not finite.
    pub fn dequantize(&self) -> Result<Vec<f32>, CodecError> {
        for (index, scale) in self.scales.iter().enumerate() {
            let value = scale.to_f32();
            if !value.is_finite() {
                return Err(CodecError::BadScale { index, value });
            }
            if value < 0.0 {
                return Err(CodecError::ExponentMode { index, value });
            }
        }
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
                        *weight = (f32::from(code) - zero) * scale;
                    }
                }
            });
        Ok(weights)
    }
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
