//! Affine weights with their scales and zero points.

use rayon::prelude::*;

use super::bits::UNIT;
use super::float::Floats;
use super::header::AffineHeader;
use super::layout::AffineLayout;
use super::pack::{refuse_wrong_masks, unpack_codes, unpack_row};
use crate::error::{MatrixError, check_length};

/// Everything an [`AffineMatrix`] stores. Shapes are in the [module](super) docs.
#[derive(Clone, Debug, PartialEq)]
pub struct AffineParts {
    /// Shape, bits, groups and which parts there are.
    pub layout: AffineLayout,
    /// Codes, `[out, words_per_row]`.
    pub words: Vec<u32>,
    /// Kept inputs, `[out, in / 32]` of a sparse matrix, empty of a dense one.
    pub mask: Vec<u32>,
    /// `[out, groups]`.
    pub scales: Floats,
    /// `[out, groups]`, where the layout has zero points.
    pub zeros: Option<Floats>,
    /// `[in]`, where the layout is permuted: the input that each column multiplies.
    pub order: Option<Vec<u32>>,
}

/// An `[out, in]` matrix of weights `(code - zero) · scale` in the canonical layout.
///
/// Lengths and types fit the layout, scales are finite and not 0, zero points are finite, masks
/// keep 16 of 32 inputs, and an order names every input once. Padding fields behind the last
/// column may hold anything.
///
/// # Examples
///
/// ```
/// use tritburn_formats::affine::{
///     AffineLayout, AffineMatrix, AffineParts, Bits, FloatType, Floats, pack_affine_codes,
/// };
///
/// let layout = AffineLayout::new([1, 3], Bits::Four, None)?.with_zeros().with_floats(FloatType::F32);
/// let matrix = AffineMatrix::new(AffineParts {
///     words: pack_affine_codes(&[0, 8, 15], &[], &layout)?,
///     mask: vec![],
///     scales: Floats::F32(vec![0.5]),
///     zeros: Some(Floats::F32(vec![7.5])),
///     order: None,
///     layout,
/// })?;
/// assert_eq!(matrix.dequantize(), [-3.75, 0.25, 3.75]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct AffineMatrix {
    parts: AffineParts,
}

impl AffineMatrix {
    /// A matrix of these parts.
    ///
    /// # Errors
    /// [`MatrixError::Length`], [`MatrixError::Missing`], [`MatrixError::Unexpected`],
    /// [`MatrixError::FloatType`], [`MatrixError::GroupScale`], [`MatrixError::GroupZero`],
    /// [`MatrixError::Kept`] or [`MatrixError::InputOrder`], with the first place that is wrong.
    pub fn new(parts: AffineParts) -> Result<Self, MatrixError> {
        let layout = &parts.layout;
        check_length("packed words", parts.words.len(), layout.word_count())?;
        check_length("mask", parts.mask.len(), layout.mask_count())?;
        check_floats("scales", &parts.scales, layout)?;
        expect_part("zero points", parts.zeros.is_some(), layout.has_zeros())?;
        expect_part("column orders", parts.order.is_some(), layout.is_permuted())?;
        let groups = layout.groups_per_row();
        let first = |floats: &Floats, bad: fn(f32) -> bool| {
            let bad = |at: &usize| floats.get(*at).is_some_and(bad);
            let at = (0..floats.len()).find(bad)?;
            Some((at / groups, at % groups, floats.get(at)?))
        };
        if let Some((row, group, value)) = first(&parts.scales, |s| !s.is_finite() || s == 0.0) {
            return Err(MatrixError::GroupScale { row, group, value });
        }
        if let Some(zeros) = &parts.zeros {
            check_floats("zero points", zeros, layout)?;
            if let Some((row, group, value)) = first(zeros, |z| !z.is_finite()) {
                return Err(MatrixError::GroupZero { row, group, value });
            }
        }
        refuse_wrong_masks(&parts.mask, layout.units_per_row())?;
        if let Some(order) = &parts.order {
            check_order(order, layout.in_features())?;
        }
        Ok(Self { parts })
    }

    /// A matrix of parts that were those of valid matrices.
    pub(super) fn from_checked(parts: AffineParts) -> Self {
        debug_assert!(Self::new(parts.clone()).is_ok());
        Self { parts }
    }

    /// Shape, bits, groups and which parts there are.
    pub fn layout(&self) -> &AffineLayout {
        &self.parts.layout
    }

    /// The header to store beside the words.
    pub fn header(&self) -> AffineHeader {
        AffineHeader::new(self.parts.layout.clone())
    }

    /// Row-major `[out, words_per_row]` words of codes.
    pub fn words(&self) -> &[u32] {
        &self.parts.words
    }

    /// Row-major `[out, in / 32]` masks; empty of a dense matrix.
    pub fn mask(&self) -> &[u32] {
        &self.parts.mask
    }

    /// Row-major `[out, groups]`.
    pub fn scales(&self) -> &Floats {
        &self.parts.scales
    }

    /// Row-major `[out, groups]`; `None` where every zero point is the middle of the codes.
    pub fn zeros(&self) -> Option<&Floats> {
        self.parts.zeros.as_ref()
    }

    /// `[in]`: the input that each column multiplies; `None` where column `k` multiplies input `k`.
    pub fn order(&self) -> Option<&[u32]> {
        self.parts.order.as_deref()
    }

    /// All parts.
    pub fn parts(&self) -> &AffineParts {
        &self.parts
    }

    /// All parts, to own.
    pub fn into_parts(self) -> AffineParts {
        self.parts
    }

    /// Codes, row-major `[out, in]` in the order of the stored columns; those of dropped weights
    /// are 0.
    pub fn codes(&self) -> Vec<u8> {
        unpack_codes(self.words(), self.mask(), self.layout())
    }

    /// Scales `[out, groups]` and zero points `[out, groups]` in f32.
    pub fn groups(&self) -> (Vec<f32>, Vec<f32>) {
        let midpoint = f32::from(self.layout().bits().midpoint());
        let zeros = match self.zeros() {
            Some(zeros) => zeros.to_f32(),
            None => vec![midpoint; self.layout().group_count()],
        };
        (self.scales().to_f32(), zeros)
    }

    /// The real weights, row-major `[out, in]` in the order of the inputs:
    /// `(code as f32 - zero) · scale`, or 0 where dropped.
    pub fn dequantize(&self) -> Vec<f32> {
        let layout = self.layout();
        let (k, span, groups) = (layout.in_features(), layout.span(), layout.groups_per_row());
        let (scales, zeros) = self.groups();
        let mut weights = vec![0.0; layout.weight_count()];
        let scratch = || (vec![0u8; k], vec![0.0f32; k]);
        weights.par_chunks_mut(k).enumerate().for_each_init(
            scratch,
            |(codes, stored), (row, weights)| {
                unpack_row(self.words(), self.mask(), layout, row, codes);
                let row_groups = codes.chunks(span).zip(stored.chunks_mut(span));
                for (group, (codes, stored)) in row_groups.enumerate() {
                    let at = row * groups + group;
                    for (weight, &code) in stored.iter_mut().zip(codes.iter()) {
                        *weight = (f32::from(code) - zeros[at]) * scales[at];
                    }
                }
                self.drop_weights(row, stored);
                match self.order() {
                    None => weights.copy_from_slice(stored),
                    Some(order) => {
                        for (&input, &weight) in order.iter().zip(stored.iter()) {
                            weights[input as usize] = weight;
                        }
                    }
                }
            },
        );
        weights
    }

    /// Puts 0 where the mask of a sparse matrix drops a column.
    fn drop_weights(&self, row: usize, stored: &mut [f32]) {
        if !self.layout().is_sparse() {
            return;
        }
        let units = self.layout().units_per_row();
        let masks = &self.mask()[row * units..][..units];
        for (stored, mask) in stored.chunks_mut(UNIT).zip(masks) {
            for (l, weight) in stored.iter_mut().enumerate() {
                if mask >> l & 1 == 0 {
                    *weight = 0.0;
                }
            }
        }
    }
}

fn check_floats(
    what: &'static str,
    floats: &Floats,
    layout: &AffineLayout,
) -> Result<(), MatrixError> {
    check_length(what, floats.len(), layout.group_count())?;
    let (found, expected) = (floats.float_type(), layout.floats());
    match found == expected {
        true => Ok(()),
        false => Err(MatrixError::FloatType {
            what,
            found,
            expected,
        }),
    }
}

fn expect_part(what: &'static str, found: bool, expected: bool) -> Result<(), MatrixError> {
    match (found, expected) {
        (false, true) => Err(MatrixError::Missing { what }),
        (true, false) => Err(MatrixError::Unexpected { what }),
        _ => Ok(()),
    }
}

fn check_order(order: &[u32], inputs: usize) -> Result<(), MatrixError> {
    check_length("column order", order.len(), inputs)?;
    let mut seen = vec![false; inputs];
    for (column, &input) in order.iter().enumerate() {
        match seen.get_mut(input as usize) {
            Some(seen) if !*seen => *seen = true,
            _ => return Err(MatrixError::InputOrder { column, inputs }),
        }
    }
    Ok(())
}
