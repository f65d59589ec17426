//! Packed weights with a copy in the order of the device's kernels.

use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor};
use tritburn_formats::PackedLayout;

use super::api::{check_device, check_packed};
use super::backend::TernaryOps;
use super::device::{can_prepack, check_ready};
use super::operand::WeightOperand;
use crate::error::Error;
use crate::precision::InputPrecision;

/// Packed weights together with a copy in the order that tensor-core kernels read, made by
/// [`prepack`].
///
/// The copy takes another 2 bits a weight (rows and columns padded to 64 and 128) and 4 bytes an
/// output row. It belongs to one device and is never saved.
#[derive(Clone, Debug)]
pub struct PrepackedWeight {
    pub(super) codes: Tensor<1, Int>,
    pub(super) scales: Tensor<1>,
    words: Tensor<1, Int>,
    row_scales: Tensor<1>,
    layout: PackedLayout,
    precision: InputPrecision,
}

impl PrepackedWeight {
    /// Shape, code table and scale granularity.
    pub fn layout(&self) -> &PackedLayout {
        &self.layout
    }

    /// Precision of the input that the order is for.
    pub fn input_precision(&self) -> InputPrecision {
        self.precision
    }

    /// The codes in kernel order, U32.
    pub fn words(&self) -> Tensor<1, Int> {
        self.words.clone()
    }

    /// The scale of each output row times the value of a decoded unit, F32 `[out]`.
    pub fn row_scales(&self) -> Tensor<1> {
        self.row_scales.clone()
    }

    pub(crate) fn operand(&self) -> WeightOperand<Dispatch> {
        WeightOperand::Prepacked {
            codes: self.codes.clone().into_dispatch(),
            scales: self.scales.clone().into_dispatch(),
            words: self.words.clone().into_dispatch(),
            row_scales: self.row_scales.clone().into_dispatch(),
        }
    }
}

/// Puts packed weights in the order that the device's tensor-core kernels read, for products with
/// `precision`. Worth it where `prefers_prepacked` says so; other
/// CubeCL devices do the work and go on reading the canonical codes.
///
/// # Shapes
/// `codes` and `scales` as [`quantize_weight`](super::quantize_weight) returns them. No gradient
/// flows through.
///
/// # Errors
/// [`Error::Shape`], [`Error::DType`], [`Error::Device`]; [`Error::NotPrepackable`] for a layout
/// that the kernels cannot read, or a device without CubeCL.
pub fn prepack(
    codes: Tensor<1, Int>,
    scales: Tensor<1>,
    layout: &PackedLayout,
    precision: InputPrecision,
) -> Result<PrepackedWeight, Error> {
    check_packed(&codes, &scales, layout)?;
    let device = codes.device();
    check_device("scales", &scales.device(), &device)?;
    check_ready(&device)?;
    if !can_prepack(&device, layout, precision) {
        return Err(Error::NotPrepackable {
            device: format!("{device:?}"),
            layout: Box::new(layout.clone()),
        });
    }
    // Constants of every graph: they serve training and inference alike.
    let (codes, scales) = (codes.without_autodiff(), scales.without_autodiff());
    let (words, row_scales) = <Dispatch as TernaryOps>::prepack(
        codes.clone().into_dispatch(),
        scales.clone().into_dispatch(),
        layout.clone(),
        precision,
    );
    Ok(PrepackedWeight {
        codes,
        scales,
        words: Tensor::from_dispatch(words),
        row_scales: Tensor::from_dispatch(row_scales),
        layout: layout.clone(),
        precision,
    })
}
