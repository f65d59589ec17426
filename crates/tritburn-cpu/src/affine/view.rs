//! Borrowed weights with groups, checked once when the view is made.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use tritburn_formats::affine::{AffineLayout, AffineMatrix, FloatType, Floats};

use crate::error::{CpuError, expect_len};

/// Scales or zero points in the type that they are stored in.
#[derive(Clone, Copy, Debug)]
pub enum FloatsView<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// IEEE half precision.
    F16(&'a [f16]),
    /// bfloat16.
    Bf16(&'a [bf16]),
}

impl<'a> FloatsView<'a> {
    /// A view of owned floats.
    pub fn of(floats: &'a Floats) -> Self {
        match floats {
            Floats::F32(values) => Self::F32(values),
            Floats::F16(values) => Self::F16(values),
            Floats::Bf16(values) => Self::Bf16(values),
        }
    }

    fn float_type(self) -> FloatType {
        match self {
            Self::F32(_) => FloatType::F32,
            Self::F16(_) => FloatType::F16,
            Self::Bf16(_) => FloatType::Bf16,
        }
    }

    fn len(self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }

    /// Values `start..start + out.len()` in f32, which holds all of them exactly.
    pub(super) fn read(self, start: usize, out: &mut [f32]) {
        let range = start..start + out.len();
        match self {
            Self::F32(values) => out.copy_from_slice(&values[range]),
            Self::F16(values) => values[range].convert_to_f32_slice(out),
            Self::Bf16(values) => values[range].convert_to_f32_slice(out),
        }
    }
}

/// Affine weights in the canonical layout of [`tritburn_formats::affine`].
#[derive(Clone, Copy, Debug)]
pub struct AffineView<'a> {
    layout: &'a AffineLayout,
    words: &'a [u32],
    mask: &'a [u32],
    scales: FloatsView<'a>,
    zeros: Option<FloatsView<'a>>,
    order: Option<&'a [u32]>,
}

/// The parts of an [`AffineView`], as [`AffineParts`](tritburn_formats::affine::AffineParts) has them.
#[derive(Clone, Copy, Debug)]
pub struct AffineOperands<'a> {
    /// Codes, `[out, words_per_row]`.
    pub words: &'a [u32],
    /// Kept inputs, `[out, in / 32]` of sparse weights, empty of dense ones.
    pub mask: &'a [u32],
    /// `[out, groups]`.
    pub scales: FloatsView<'a>,
    /// `[out, groups]`, where the layout has zero points.
    pub zeros: Option<FloatsView<'a>>,
    /// `[in]`, where the layout is permuted: the input that each column multiplies.
    pub order: Option<&'a [u32]>,
}

impl<'a> AffineView<'a> {
    /// A view of operands that fit a layout. What scales and masks hold is not looked at.
    ///
    /// # Errors
    /// [`CpuError::Length`] if a slice does not fit the layout, or one is missing (found 0) or
    /// too many (expected 0); [`CpuError::FloatType`]; [`CpuError::Index`] for an order that names
    /// an input which is not there.
    pub fn new(layout: &'a AffineLayout, operands: AffineOperands<'a>) -> Result<Self, CpuError> {
        let AffineOperands {
            words,
            mask,
            scales,
            zeros,
            order,
        } = operands;
        expect_len("words", words.len(), layout.word_count())?;
        expect_len("mask", mask.len(), layout.mask_count())?;
        expect_floats("scales", scales, layout, layout.group_count())?;
        let found = zeros.map_or(0, FloatsView::len);
        let expected = usize::from(layout.has_zeros()) * layout.group_count();
        expect_len("zeros", found, expected)?;
        if let Some(zeros) = zeros {
            expect_floats("zeros", zeros, layout, expected)?;
        }
        let expected = usize::from(layout.is_permuted()) * layout.in_features();
        expect_len("order", order.map_or(0, <[u32]>::len), expected)?;
        let limit = layout.in_features();
        let outside = |&input: &u32| input as usize >= limit;
        if let Some((at, order)) = order.and_then(|o| Some((o.iter().position(outside)?, o))) {
            return Err(CpuError::Index {
                operand: "order",
                at,
                found: order[at] as usize,
                limit,
            });
        }
        Ok(Self {
            layout,
            words,
            mask,
            scales,
            zeros,
            order,
        })
    }

    /// A view of a matrix.
    pub fn of(matrix: &'a AffineMatrix) -> Self {
        Self {
            layout: matrix.layout(),
            words: matrix.words(),
            mask: matrix.mask(),
            scales: FloatsView::of(matrix.scales()),
            zeros: matrix.zeros().map(FloatsView::of),
            order: matrix.order(),
        }
    }

    /// Shape, bits, groups and which parts there are.
    pub fn layout(&self) -> &'a AffineLayout {
        self.layout
    }

    pub(super) fn words(&self) -> &'a [u32] {
        self.words
    }

    pub(super) fn mask(&self) -> &'a [u32] {
        self.mask
    }

    pub(super) fn order(&self) -> Option<&'a [u32]> {
        self.order
    }

    /// Scales and zero points of the groups of one row, in f32.
    pub(super) fn read_groups(&self, row: usize, scales: &mut [f32], zeros: &mut [f32]) {
        let start = row * self.layout.groups_per_row();
        self.scales.read(start, scales);
        match self.zeros {
            Some(stored) => stored.read(start, zeros),
            None => zeros.fill(f32::from(self.layout.bits().midpoint())),
        }
    }
}

fn expect_floats(
    operand: &'static str,
    floats: FloatsView<'_>,
    layout: &AffineLayout,
    len: usize,
) -> Result<(), CpuError> {
    expect_len(operand, floats.len(), len)?;
    let (found, expected) = (floats.float_type(), layout.floats());
    match found == expected {
        true => Ok(()),
        false => Err(CpuError::FloatType {
            operand,
            found,
            expected,
        }),
    }
}
