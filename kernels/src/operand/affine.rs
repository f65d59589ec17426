//! Affine weights in the canonical layout.

use cubecl::prelude::*;
use tritburn_formats::affine::{AffineLayout, FloatType as StoredType};

use super::buffer::Buffer;
use super::float::FloatVector;
use super::float_type::FloatType;
use crate::error::KernelError;

/// The parts of [`AffineWeights`], as
/// [`AffineParts`](tritburn_formats::affine::AffineParts) has them.
#[derive(Clone, Debug)]
pub struct AffineBuffers {
    /// Codes, u32 `[layout.word_count()]`.
    pub words: Buffer,
    /// Kept inputs, u32 `[layout.mask_count()]`, of sparse weights.
    pub mask: Option<Buffer>,
    /// `[layout.group_count()]`, of the type that the layout says.
    pub scales: FloatVector,
    /// As the scales, where the layout has zero points.
    pub zeros: Option<FloatVector>,
    /// The input of each column, u32 `[in]`, where the layout is permuted.
    pub order: Option<Buffer>,
}

/// Weights `(code - zero) · scale` `[N, K]` of 2, 3 or 4 bits in the canonical layout of
/// [`tritburn_formats::affine`]. What scales, masks and orders hold is not looked at; an input that
/// an order names and the activations lack counts as NaN.
#[derive(Clone, Debug)]
pub struct AffineWeights {
    layout: AffineLayout,
    buffers: AffineBuffers,
}

impl AffineWeights {
    /// Weights of `layout`.
    ///
    /// # Errors
    /// [`KernelError::Length`] for a buffer of another length, one that is missing (found 0) and one
    /// too many (expected 0), [`KernelError::Bytes`], [`KernelError::Alignment`],
    /// [`KernelError::FloatType`] for scales or zero points of another type.
    pub fn new(layout: AffineLayout, buffers: AffineBuffers) -> Result<Self, KernelError> {
        let AffineBuffers {
            words,
            mask,
            scales,
            zeros,
            order,
        } = &buffers;
        words.check_exact("affine words", layout.word_count())?;
        check_part("mask", mask.as_ref(), layout.mask_count())?;
        let columns = usize::from(layout.is_permuted()) * layout.in_features();
        check_part("column order", order.as_ref(), columns)?;
        let groups = layout.group_count();
        check_floats("group scales", scales, layout.floats(), groups)?;
        let expected = usize::from(layout.has_zeros()) * groups;
        match zeros {
            Some(zeros) => check_floats("zero points", zeros, layout.floats(), expected)?,
            None => check_length("zero points", 0, expected)?,
        }
        Ok(Self { layout, buffers })
    }

    /// Shape, bits, groups and which parts there are.
    pub fn layout(&self) -> &AffineLayout {
        &self.layout
    }

    /// The parts.
    pub fn buffers(&self) -> &AffineBuffers {
        &self.buffers
    }

    /// Checks that `client`'s device reads the type of scales and zero points.
    pub(crate) fn check(&self, client: &Client) -> Result<(), KernelError> {
        let scales = &self.buffers.scales;
        scales.check(client, "group scales", scales.len())
    }
}

fn check_part(
    operand: &'static str,
    part: Option<&Buffer>,
    expected: usize,
) -> Result<(), KernelError> {
    match part {
        Some(part) => part.check_exact(operand, expected),
        None => check_length(operand, 0, expected),
    }
}

fn check_floats(
    operand: &'static str,
    floats: &FloatVector,
    stored: StoredType,
    expected: usize,
) -> Result<(), KernelError> {
    check_length(operand, floats.len(), expected)?;
    let dtype = match stored {
        StoredType::F32 => FloatType::F32,
        StoredType::F16 => FloatType::F16,
        StoredType::Bf16 => FloatType::BF16,
    };
    dtype.expect(operand, floats.dtype())
}

fn check_length(operand: &'static str, found: usize, expected: usize) -> Result<(), KernelError> {
    match found == expected {
        true => Ok(()),
        false => Err(KernelError::Length {
            operand,
            expected,
            found,
        }),
    }
}
