//! The one place where the ternary model and its float twin differ.

use burn::module::{Initializer, Module, Param};
use burn::nn::{RmsNorm, RmsNormConfig};
use burn::tensor::{Device, Tensor};
use tritburn::training::{GatedActivation, Norm, gated, linear, rms_norm};
use tritburn::{BitLinear, BitLinearConfig, Error};

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

/// A norm and a float matrix `[out, in]`, the order of [`BitLinear`] and of files.
#[derive(Module, Debug)]
pub(super) struct DenseLinear {
    weight: Param<Tensor<2>>,
    norm: RmsNorm,
}

impl Projection {
    /// A map from `input` features to each of `outputs`, as one matrix. Fresh weights are
    /// `U(-k, k)` with `k = sqrt(1 / input)`, in both forms.
    pub fn new(
        config: &DecoderConfig,
        input: usize,
        outputs: &[usize],
        device: &Device,
    ) -> Result<Self, Error> {
        let linear = match outputs {
            [output] => BitLinearConfig::new(input, *output),
            several => BitLinearConfig::fused(input, several),
        };
        if config.quantization.is_ternary() {
            let linear = linear.with_norm(true).with_norm_eps(config.rms_norm_eps);
            return Ok(Self::Ternary(linear.try_init(device)?));
        }
        let bound = (1.0 / input as f64).sqrt();
        let fresh = Initializer::Uniform {
            min: -bound,
            max: bound,
        };
        Ok(Self::Dense(DenseLinear {
            weight: fresh.init([linear.d_output, input], device),
            norm: norm(config, input, device),
        }))
    }

    /// `[.., in]` to `[.., out]`, in the dtype of `x`.
    pub fn forward(&self, x: Tensor<3>) -> Result<Tensor<3>, Error> {
        match self {
            Self::Ternary(layer) => layer.try_forward(x),
            Self::Dense(layer) => linear(rms_norm(x, operand(&layer.norm))?, layer.weight.val()),
        }
    }

    /// The map of `relu(gate)² · up`: `[.., 2 · in]`, the gate first, to `[.., out]`.
    pub fn forward_gated(&self, gate_up: Tensor<3>) -> Result<Tensor<3>, Error> {
        let activation = GatedActivation::SquaredRelu;
        match self {
            Self::Ternary(layer) => layer.try_forward_gated(gate_up, activation),
            Self::Dense(layer) => {
                let norm = Some(operand(&layer.norm));
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

    /// The gains of the norm `[in]`; `None` for a layer without one, which [`new`](Self::new) does not
    /// make.
    pub fn gains(&self) -> Option<Tensor<1>> {
        let norm = match self {
            Self::Ternary(layer) => layer.norm.as_ref(),
            Self::Dense(layer) => Some(&layer.norm),
        };
        norm.map(|norm| norm.gamma.val())
    }

    /// Puts latent weights `[out, in]` and gains `[in]` in the place of the fresh ones.
    pub fn set(&mut self, latent: Tensor<2>, gains: Tensor<1>) {
        let (weight, norm) = match self {
            Self::Ternary(layer) => (&mut layer.weight, layer.norm.as_mut()),
            Self::Dense(layer) => (&mut layer.weight, Some(&mut layer.norm)),
        };
        *weight = Param::from_tensor(latent);
        if let Some(norm) = norm {
            norm.gamma = Param::from_tensor(gains);
        }
    }
}

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
