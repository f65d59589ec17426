//! The forward pass of [`BitLinear`](super::BitLinear), latent or packed.

use burn::module::Param;
use burn::nn::RmsNorm;
use burn::tensor::Tensor;
use tritburn_formats::{PackedLayout, ScaleGranularity};

use super::packed_weight::PackedWeight;
use crate::error::Error;
use crate::ops;
use crate::precision::InputPrecision;

/// Norm, product and bias: packed if the weight carries a [`PackedWeight`], else quantised on the
/// fly with straight-through gradients.
pub(super) fn project<const D: usize>(
    x: Tensor<D>,
    weight: &Param<Tensor<2>>,
    bias: Option<&Param<Tensor<1>>>,
    norm: Option<&RmsNorm>,
    layout: &PackedLayout,
    precision: InputPrecision,
) -> Result<Tensor<D>, Error> {
    // Ahead of the norm, which would panic on a mismatch.
    let dims = x.dims();
    if dims.last() != Some(&layout.in_features()) {
        return Err(Error::InputFeatures {
            shape: dims.to_vec(),
            found: dims.last().copied().unwrap_or(0),
            expected: layout.in_features(),
        });
    }
    let x = match norm {
        Some(norm) => {
            let gamma = norm.gamma.val();
            if gamma.dtype() != x.dtype() {
                return Err(Error::DType {
                    operand: "norm of the input",
                    found: gamma.dtype(),
                    expected: "the dtype of the input",
                });
            }
            ops::check_device("norm of the input", &gamma.device(), &x.device())?;
            norm.forward(x)
        }
        None => x,
    };
    let dtype = x.dtype();
    let bias = bias.map(|bias| bias.val().cast(dtype));
    match weight.reparameterization::<PackedWeight>() {
        Some(packed) => {
            if packed.layout() != layout {
                return Err(Error::PackedLayout {
                    found: Box::new(packed.layout().clone()),
                    expected: Box::new(layout.clone()),
                });
            }
            let scales = || weight.base().flatten::<1>(0, 1);
            match packed.prepacked(scales, precision)? {
                Some(prepacked) => ops::prepacked_linear(x, &prepacked, bias),
                None => {
                    let codes = packed.codes.val();
                    ops::packed_linear(x, codes, scales(), bias, layout, precision)
                }
            }
        }
        None => ops::bit_linear(x, weight.val(), bias, layout, precision),
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
