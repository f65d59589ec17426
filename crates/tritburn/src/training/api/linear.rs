//! Products whose input is normalised or gated, and quantised, on the way.

use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor};
use tritburn_formats::PackedLayout;

use super::super::backend::TrainingOps;
use super::super::operand::{GatedActivation, Prologue};
use super::check::Rows;
use super::rows::{Norm, gate_prologue, gate_rows};
use crate::error::Error;
use crate::ops::{
    PrepackedWeight, WeightOperand, check_bias, check_device, check_float, check_packed,
    check_weight_shape,
};

/// RMSNorm, int8 quantiser and W2A8 product as one operation: the layer of BitNet b1.58
/// (arXiv 2402.17764, section 2), with the numbers of [`rms_norm`](super::rms_norm) quantised
/// straight from f32, and of [`bit_linear`](crate::ops::bit_linear).
///
/// Both quantisers pass gradients straight through. The backward pass keeps `x`, which a model
/// holds anyway, its int8 codes and the packed weights, and normalises again.
///
/// # Shapes
/// `x` `[.., in]` of f32, bf16 or f16; gains `[in]` and `weight` `[out, in]` of any float dtype, as
/// a rule f32; `bias` `[out]` in the dtype of `x`. Returns `[.., out]` in the dtype of `x`. Each
/// gradient has the dtype of its tensor.
///
/// # Errors
/// [`Error::InputFeatures`], [`Error::Shape`], [`Error::DType`] or [`Error::Device`].
pub fn norm_bit_linear<const D: usize>(
    x: Tensor<D>,
    norm: Norm,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    layout: &PackedLayout,
) -> Result<Tensor<D>, Error> {
    prologue_linear(
        x,
        LinearPrologue::Norm(norm),
        LinearWeight::Latent(weight),
        bias,
        layout,
    )
}

/// Gated unit, optional sub-norm, int8 quantiser and W2A8 product as one operation: the down
/// projection of a feed-forward block, with the numbers of [`gated`](super::gated) quantised
/// straight from f32.
///
/// The backward pass keeps `gate_up`, the int8 codes of the unit and the packed weights.
///
/// # Shapes
/// `gate_up` `[.., 2 · in]` with the gate first; all else as in [`norm_bit_linear`].
///
/// # Errors
/// As [`norm_bit_linear`].
pub fn gated_bit_linear<const D: usize>(
    gate_up: Tensor<D>,
    activation: GatedActivation,
    norm: Option<Norm>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    layout: &PackedLayout,
) -> Result<Tensor<D>, Error> {
    let prologue = LinearPrologue::Gate(activation, norm);
    prologue_linear(
        gate_up,
        prologue,
        LinearWeight::Latent(weight),
        bias,
        layout,
    )
}

/// What stands in front of a product.
#[derive(Clone, Debug)]
pub(crate) enum LinearPrologue {
    Norm(Norm),
    Gate(GatedActivation, Option<Norm>),
}

/// The weights of a product.
#[allow(
    clippy::large_enum_variant,
    reason = "one a call, passed once and taken apart"
)]
pub(crate) enum LinearWeight {
    /// Float weights, quantised here, with gradients.
    Latent(Tensor<2>),
    /// As [`quantize_weight`](crate::ops::quantize_weight) returns them.
    Packed {
        codes: Tensor<1, Int>,
        scales: Tensor<1>,
    },
    /// The same in the order of the device's kernels.
    Prepacked(PrepackedWeight),
}

/// Prologue, quantiser and product, whatever the weights are: the same bits.
pub(crate) fn prologue_linear<const D: usize>(
    x: Tensor<D>,
    prologue: LinearPrologue,
    weight: LinearWeight,
    bias: Option<Tensor<1>>,
    layout: &PackedLayout,
) -> Result<Tensor<D>, Error> {
    let (rows, prologue) = match prologue {
        LinearPrologue::Norm(norm) => {
            let rows = Rows::new("input", &x, layout.in_features())?;
            norm.check(&x, layout.in_features())?;
            (rows, norm.prologue())
        }
        LinearPrologue::Gate(activation, norm) => {
            let (rows, features) = gate_rows(&x, norm.as_ref())?;
            if features != layout.in_features() {
                return Err(Error::InputFeatures {
                    shape: x.dims().to_vec(),
                    found: 2 * features,
                    expected: 2 * layout.in_features(),
                });
            }
            (rows, gate_prologue(activation, norm))
        }
    };
    check_bias(bias.as_ref(), &x, layout.out_features())?;
    let bias = bias.map(Tensor::into_dispatch).into();
    let out = layout.out_features();
    let packed = |x: Tensor<2>, prologue: Prologue<Dispatch>, weight, bias| {
        let layout = layout.clone();
        let x = x.into_dispatch();
        let y =
            <Dispatch as TrainingOps>::prologue_packed_linear(x, prologue, weight, bias, layout);
        Tensor::from_dispatch(y)
    };
    match weight {
        LinearWeight::Latent(weight) => {
            check_float("weight", weight.dtype(), &weight.device())?;
            check_weight_shape(&weight, layout)?;
            check_device("weight", &weight.device(), &x.device())?;
            Ok(rows.map(x, out, |x| {
                Tensor::from_dispatch(<Dispatch as TrainingOps>::prologue_bit_linear(
                    x.into_dispatch(),
                    prologue,
                    weight.into_dispatch(),
                    bias,
                    layout.clone(),
                ))
            }))
        }
        LinearWeight::Packed { codes, scales } => {
            check_packed(&codes, &scales, layout)?;
            check_device("packed weight", &codes.device(), &x.device())?;
            check_device("scale", &scales.device(), &x.device())?;
            let weight = WeightOperand::Canonical {
                codes: codes.into_dispatch(),
                scales: scales.into_dispatch(),
            };
            Ok(rows.map(x, out, |x| packed(x, prologue, weight, bias)))
        }
        LinearWeight::Prepacked(weight) => {
            check_device("packed weight", &weight.words().device(), &x.device())?;
            let weight = weight.operand();
            Ok(rows.map(x, out, |x| packed(x, prologue, weight, bias)))
        }
    }
}
