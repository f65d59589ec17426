//! Of every 32 inputs 16.

use half::f16;
use rayon::prelude::*;

use super::matrix::check_shape;
use super::{Bits, FORMAT, IntMatrix};
use crate::affine::{AffineLayout, AffineMatrix, UNIT, for_each_kept};
use crate::codec::{CodecError, Rounding, check};

/// Inputs kept of 32.
const KEPT: u32 = 16;

/// A 4-bit matrix that keeps 16 of every 32 inputs of a row; the others are exactly zero (not
/// their zero point) and have code 0.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseInt4 {
    matrix: IntMatrix,
    mask: Vec<u32>,
}

/// Codes and mask as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparseWords {
    /// `[in / 16, out]`: the 16 kept codes of group `g` of 32 inputs in ascending order, rank `r` in
    /// word `[2g + r / 8, n]` at bit `4·(r % 8)`.
    pub weights: Vec<u32>,
    /// `[in / 32, out]`: bit `l` of word `[g, n]` is 1 where input `32g + l` is kept.
    pub mask: Vec<u32>,
}

impl SparseInt4 {
    /// A matrix of 4-bit codes and row-major masks `[out, in / 32]`, bit `l` of word `[n, g]` for
    /// input `32g + l`.
    ///
    /// # Errors
    /// [`CodecError::Length`], [`CodecError::Kept`] for the first mask without exactly 16 bits,
    /// [`CodecError::Dropped`] for the first code other than 0 that is not kept,
    /// [`CodecError::Multiple`] for codes that are not of 4 bits.
    pub fn new(matrix: IntMatrix, mask: Vec<u32>) -> Result<Self, CodecError> {
        if matrix.bits() != Bits::Four {
            let bits = matrix.bits() as usize;
            check::multiple(FORMAT, "bits of a sparse code", bits, 4)?;
        }
        let groups = matrix.in_features() / UNIT;
        check::length(FORMAT, "masks", mask.len(), matrix.out_features(), groups)?;
        check_kept(&mask, |at| (at / groups, at % groups))?;
        let dropped =
            |(codes, mask): (&[u8], &u32)| (0..UNIT).find(|&l| mask >> l & 1 == 0 && codes[l] != 0);
        let units = matrix.codes().chunks(UNIT).zip(&mask).map(dropped);
        if let Some((at, Some(l))) = units.enumerate().find(|(_, l)| l.is_some()) {
            let i = at * UNIT + l;
            return Err(CodecError::Dropped {
                row: i / matrix.in_features(),
                col: i % matrix.in_features(),
                code: matrix.codes()[i],
            });
        }
        Ok(Self { matrix, mask })
    }

    /// Codes, scales and zeros.
    pub fn matrix(&self) -> &IntMatrix {
        &self.matrix
    }

    /// Row-major `[out, in / 32]`.
    pub fn mask(&self) -> &[u32] {
        &self.mask
    }

    /// The real weights, row-major `[out, in]`.
    ///
    /// # Errors
    /// As [`IntMatrix::dequantize`].
    pub fn dequantize(&self) -> Result<Vec<f32>, CodecError> {
        let mut weights = self.matrix.dequantize()?;
        for (weights, mask) in weights.chunks_mut(UNIT).zip(&self.mask) {
            for (l, weight) in weights.iter_mut().enumerate() {
                if mask >> l & 1 == 0 {
                    *weight = 0.0;
                }
            }
        }
        Ok(weights)
    }

    /// The canonical matrix.
    ///
    /// # Errors
    /// As [`IntMatrix::to_affine`].
    pub fn to_affine(&self) -> Result<AffineMatrix, CodecError> {
        self.matrix
            .to_grouped(self.mask.clone(), AffineLayout::sparse)
    }

    /// The matrix that stores the codes and masks of a canonical one.
    ///
    /// # Errors
    /// [`CodecError::NoPlace`] for a dense matrix, and as [`IntMatrix::from_affine`].
    pub fn from_affine(matrix: &AffineMatrix, rounding: Rounding) -> Result<Self, CodecError> {
        if !matrix.layout().is_sparse() {
            return Err(CodecError::NoPlace {
                format: FORMAT,
                what: "dense codes among sparse ones",
            });
        }
        Self::new(
            IntMatrix::of_groups(matrix, rounding)?,
            matrix.mask().to_vec(),
        )
    }
}

/// Reads stored words, and scales and zeros `[groups, out]`.
///
/// # Errors
/// As [`IntMatrix::new`] and [`SparseInt4::new`].
pub fn decode_sparse(
    words: &SparseWords,
    [out_features, in_features]: [usize; 2],
    group_size: Option<usize>,
    scales: Vec<f16>,
    zeros: Vec<f16>,
) -> Result<SparseInt4, CodecError> {
    check_shape(out_features, in_features, group_size)?;
    let (n, groups) = (out_features, in_features / UNIT);
    let SparseWords { weights, mask } = words;
    check::length(FORMAT, "words", weights.len(), 2 * groups, n)?;
    check::length(FORMAT, "masks", mask.len(), groups, n)?;
    // Before anything is unpacked: a mask with more bits would want codes that are not there.
    check_kept(mask, |at| (at % n, at / n))?;
    // No overflow: every 32 codes come from words that are there.
    let mut codes = vec![0; n * in_features];
    codes
        .par_chunks_mut(in_features)
        .enumerate()
        .for_each(|(row, codes)| {
            for (g, codes) in codes.chunks_exact_mut(UNIT).enumerate() {
                let [low, high] = [0, 1].map(|half| weights[(2 * g + half) * n + row]);
                let mut kept = u64::from(low) | u64::from(high) << 32;
                for_each_kept(mask[g * n + row], |l| {
                    codes[l] = kept as u8 & 15;
                    kept >>= 4;
                });
            }
        });
    let by_rows = (0..n * groups).map(|at| mask[at % groups * n + at / groups]);
    let by_rows = by_rows.collect();
    let shape = [out_features, in_features];
    let matrix = IntMatrix::new(shape, Bits::Four, group_size, codes, scales, zeros)?;
    SparseInt4::new(matrix, by_rows)
}

/// Words to store; scales and zeros are stored as they are.
pub fn encode_sparse(sparse: &SparseInt4) -> SparseWords {
    let (n, k) = (sparse.matrix.out_features(), sparse.matrix.in_features());
    let groups = k / UNIT;
    let mut weights = vec![0; 2 * groups * n];
    let mut mask = vec![0; groups * n];
    weights
        .par_chunks_mut(2 * n)
        .zip(mask.par_chunks_mut(n))
        .enumerate()
        .for_each(|(g, (weights, masks))| {
            for (row, mask) in masks.iter_mut().enumerate() {
                *mask = sparse.mask[row * groups + g];
                let codes = &sparse.matrix.codes()[row * k + g * UNIT..][..UNIT];
                let (mut kept, mut rank) = (0, 0);
                for_each_kept(*mask, |l| {
                    kept |= u64::from(codes[l]) << rank;
                    rank += 4;
                });
                weights[row] = kept as u32;
                weights[n + row] = (kept >> 32) as u32;
            }
        });
    SparseWords { weights, mask }
}

/// `position` gives row and group of a mask.
fn check_kept(mask: &[u32], position: impl Fn(usize) -> (usize, usize)) -> Result<(), CodecError> {
    let wrong = mask.par_iter().with_min_len(1 << 12);
    match wrong.position_first(|m| m.count_ones() != KEPT) {
        None => Ok(()),
        Some(at) => {
            let (row, group) = position(at);
            let kept = mask[at].count_ones();
            Err(CodecError::Kept { row, group, kept })
        }
    }
}
