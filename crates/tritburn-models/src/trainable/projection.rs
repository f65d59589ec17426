//! The one place where the ternary model and its float twin differ.

use burn::module::{Initializer, Module, Param};
use burn::nn::{RmsNorm, RmsNormConfig};
use burn::tensor::{DType, Device, Tensor};
use tritburn::training::{GatedActivation, Norm, gated, linear, rms_norm};
use tritburn::{BitLinear, BitLinearConfig, Error, InputPrecision};

use crate::config::DecoderConfig;

/// A norm and a linear map without bias: ternary, or float in the twin.
#[derive(Module, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "four a layer, and none is moved in a loop"
)]
pub(super) enum Projection {
    /// 2-bit weights and int8 activations; norm, quantiser and product are one operation.
    Ternary(BitLinear),
    /// Float weights and activations.
    Dense(DenseLinear),
}

/// A norm, where the model has one here, and a float matrix `[out, in]`, the order of [`BitLinear`] and
/// of files.
#[derive(Module, Debug)]
pub(super) struct DenseLinear {
    weight: Param<Tensor<2>>,
    norm: Option<RmsNorm>,
}

impl Projection {
    /// A map from `input` features to each of `outputs`, as one matrix, behind a norm or not. Fresh
    /// weights are `U(-k, k)` with `k = sqrt(1 / input)`, in both forms.
    pub fn new(
        config: &DecoderConfig,
        input: usize,
        outputs: &[usize],
        has_norm: bool,
        device: &Device,
    ) -> Result<Self, Error> {
        let linear = match outputs {
            [output] => BitLinearConfig::new(input, *output),
            several => BitLinearConfig::fused(input, several),
        };
        if config.quantization.is_ternary() {
            let linear = linear
                .with_norm(has_norm)
                .with_norm_eps(config.rms_norm_eps)
                .with_input_precision(config.inputs);
            return Ok(Self::Ternary(linear.try_init(device)?));
        }
        let bound = (1.0 / input as f64).sqrt();
        let fresh = Initializer::Uniform {
            min: -bound,
            max: bound,
        };
        Ok(Self::Dense(DenseLinear {
            weight: fresh.init([linear.d_output, input], device),
            norm: has_norm.then(|| norm(config, input, device)),
        }))
    }

    /// `[.., in]` to `[.., out]`, in the dtype of `x`, quantised by `share`.
    pub fn forward(&self, x: Tensor<3>, share: f32) -> Result<Tensor<3>, Error> {
        match self {
            Self::Ternary(layer) if is_partial(layer, share) => {
                let x = match &layer.norm {
                    Some(norm) => rms_norm(x, operand(norm))?,
                    None => x,
                };
                partly_quantized(layer, x, share)
            }
            Self::Ternary(layer) => layer.try_forward(x),
            Self::Dense(layer) => {
                let x = match &layer.norm {
                    Some(norm) => rms_norm(x, operand(norm))?,
                    None => x,
                };
                linear(x, layer.weight.val())
            }
        }
    }

    /// The map of `f(gate) · up`: `[.., 2 · in]`, the gate first, to `[.., out]`.
    pub fn forward_gated(
        &self,
        gate_up: Tensor<3>,
        activation: GatedActivation,
        share: f32,
    ) -> Result<Tensor<3>, Error> {
        match self {
            Self::Ternary(layer) if is_partial(layer, share) => {
                let norm = layer.norm.as_ref().map(operand);
                partly_quantized(layer, gated(gate_up, activation, norm)?, share)
            }
            Self::Ternary(layer) => layer.try_forward_gated(gate_up, activation),
            Self::Dense(layer) => {
                let norm = layer.norm.as_ref().map(operand);
                linear(gated(gate_up, activation, norm)?, layer.weight.val())
            }
        }
    }

    /// The latent weights `[out, in]`; `None` where packing has removed them.
    pub fn latent(&self) -> Option<Tensor<2>> {
        match self {
            Self::Ternary(layer) if layer.is_packed() => None,
            Self::Ternary(layer) => Some(layer.weight.val()),
            Self::Dense(layer) => Some(layer.weight.val()),
        }
    }

    /// The gains of the norm `[in]`; `None` for a map without one.
    pub fn gains(&self) -> Option<Tensor<1>> {
        let norm = match self {
            Self::Ternary(layer) => layer.norm.as_ref(),
            Self::Dense(layer) => layer.norm.as_ref(),
        };
        norm.map(|norm| norm.gamma.val())
    }

    /// Puts latent weights `[out, in]` and gains `[in]`, where there is a norm, in the place of the fresh
    /// ones.
    pub fn set(&mut self, latent: Tensor<2>, gains: Option<Tensor<1>>) {
        let (weight, norm) = match self {
            Self::Ternary(layer) => (&mut layer.weight, layer.norm.as_mut()),
            Self::Dense(layer) => (&mut layer.weight, layer.norm.as_mut()),
        };
        *weight = Param::from_tensor(latent);
        if let (Some(norm), Some(gains)) = (norm, gains) {
            norm.gamma = Param::from_tensor(gains);
        }
    }
}

/// Whether a layer is between float and ternary.
fn is_partial(layer: &BitLinear, share: f32) -> bool {
    share < 1.0 && !layer.is_packed()
}

/// `x̃ · W̃ᵀ` with `x̃ = x + share · (x̂ - x)` and `W̃ = W + share · (Ŵ - W)`, where hats are what the
/// quantisers make of them and differences have no gradient. A float product: this is for the first
/// steps only.
fn partly_quantized(layer: &BitLinear, x: Tensor<3>, share: f32) -> Result<Tensor<3>, Error> {
    let latent = layer.weight.val();
    let gap = layer.dense_weight()?.detach() - latent.clone().detach();
    let weight = latent + gap * share;
    let x = match layer.input_precision() {
        InputPrecision::Int8 => {
            let values = x.clone().detach().cast(DType::F32);
            let largest = values.clone().abs().max_dim(2).clamp_min(SMALLEST);
            let codes = (values.clone() / largest.clone() * LEVELS).round();
            let gap = (codes * largest / LEVELS - values) * share;
            let dtype = x.dtype();
            x + gap.cast(dtype)
        }
        _ => x,
    };
    linear(x, weight)
}

/// Steps of int8 activations on each side of 0.
const LEVELS: f32 = 127.0;
/// Rows are not divided by less.
const SMALLEST: f32 = 1e-5;

/// A fresh norm of `width` features.
pub(super) fn norm(config: &DecoderConfig, width: usize, device: &Device) -> RmsNorm {
    RmsNormConfig::new(width)
        .with_epsilon(config.rms_norm_eps)
        .init(device)
}

/// A norm as operations take it.
pub(super) fn operand(norm: &RmsNorm) -> Norm {
    Norm {
        gamma: norm.gamma.val(),
        epsilon: norm.epsilon as f32,
    }
}
