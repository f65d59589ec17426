//! The forward pass of [`BitLinear`], latent or packed.

use burn::nn::RmsNorm;
use burn::tensor::Tensor;
use tritburn_formats::{PackedLayout, ScaleGranularity};

use super::bit_linear::BitLinear;
use super::packed_weight::PackedWeight;
use crate::error::Error;
use crate::ops;
use crate::precision::InputPrecision;
use crate::training::{
    GatedActivation, LinearPrologue, LinearWeight, Norm, gated, prologue_linear, rms_norm,
};

/// Gate, norm, product and bias: packed if the weight carries a [`PackedWeight`], else quantised on
/// the fly with straight-through gradients. With int8 input all of it is one operation.
pub(super) fn project<const D: usize>(
    layer: &BitLinear,
    x: Tensor<D>,
    gate: Option<GatedActivation>,
) -> Result<Tensor<D>, Error> {
    let layout = layer.layout();
    let dtype = x.dtype();
    let bias = layer.bias.as_ref().map(|bias| bias.val().cast(dtype));
    let weight = weight(layer)?;
    let norm = layer.norm.as_ref().map(norm);
    let prologue = match (gate, norm) {
        (None, None) => return product(x, weight, bias, layer),
        (None, Some(norm)) => LinearPrologue::Norm(norm),
        (Some(activation), norm) => LinearPrologue::Gate(activation, norm),
    };
    if layer.input_precision() == InputPrecision::Int8 {
        return prologue_linear(x, prologue, weight, bias, layout);
    }
    let x = match prologue {
        LinearPrologue::Norm(norm) => {
            check_features(&x, layout)?;
            rms_norm(x, norm)?
        }
        LinearPrologue::Gate(activation, norm) => gated(x, activation, norm)?,
    };
    product(x, weight, bias, layer)
}

fn norm(norm: &RmsNorm) -> Norm {
    Norm {
        gamma: norm.gamma.val(),
        epsilon: norm.epsilon as f32,
    }
}

/// The weights as the device multiplies with them.
fn weight(layer: &BitLinear) -> Result<LinearWeight, Error> {
    let Some(packed) = layer.weight.reparameterization::<PackedWeight>() else {
        return Ok(LinearWeight::Latent(layer.weight.val()));
    };
    if packed.layout() != layer.layout() {
        return Err(Error::PackedLayout {
            found: Box::new(packed.layout().clone()),
            expected: Box::new(layer.layout().clone()),
        });
    }
    let scales = || layer.weight.base().flatten::<1>(0, 1);
    Ok(match packed.prepacked(scales, layer.input_precision())? {
        Some(prepacked) => LinearWeight::Prepacked(prepacked),
        None => LinearWeight::Packed {
            codes: packed.codes.val(),
            scales: scales(),
        },
    })
}

/// The product alone.
fn product<const D: usize>(
    x: Tensor<D>,
    weight: LinearWeight,
    bias: Option<Tensor<1>>,
    layer: &BitLinear,
) -> Result<Tensor<D>, Error> {
    let (layout, precision) = (layer.layout(), layer.input_precision());
    match weight {
        LinearWeight::Latent(weight) => ops::bit_linear(x, weight, bias, layout, precision),
        LinearWeight::Packed { codes, scales } => {
            ops::packed_linear(x, codes, scales, bias, layout, precision)
        }
        LinearWeight::Prepacked(weight) => ops::prepacked_linear(x, &weight, bias),
    }
}

/// Where the norm would name its own size instead of the layer's.
fn check_features<const D: usize>(x: &Tensor<D>, layout: &PackedLayout) -> Result<(), Error> {
    let dims = x.dims();
    match dims.last() == Some(&layout.in_features()) {
        true => Ok(()),
        false => Err(Error::InputFeatures {
            shape: dims.to_vec(),
            found: dims.last().copied().unwrap_or(0),
            expected: layout.in_features(),
        }),
    }
}

/// Cuts the last axis into the row segments of a fused layer; one part if it has none.
pub(super) fn split_segments<const D: usize>(
    y: Tensor<D>,
    layout: &PackedLayout,
) -> Vec<Tensor<D>> {
    match layout.scale() {
        ScaleGranularity::Segments { rows } => y.split_with_sizes(rows.clone(), D - 1),
        _ => vec![y],
    }
}
