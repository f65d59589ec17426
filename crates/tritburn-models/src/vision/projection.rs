//! The one place where the ternary model and its float twin differ.

use burn::module::{Initializer, Module, Param};
use burn::nn::{RmsNorm, RmsNormConfig};
use burn::tensor::{Device, Tensor};
use tritburn::training::{Norm, linear, rms_norm};
use tritburn::{BitLinear, BitLinearConfig, Error};

/// How a projection is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// 2-bit weights and int8 inputs, or floats.
    pub ternary: bool,
    /// Whether an RMSNorm of the input is inside.
    pub norm: bool,
    /// Its ε.
    pub epsilon: f64,
}

/// A linear map with bias, behind a norm or not: ternary, or float in the twin.
#[derive(Module, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "four a block, and none is moved in a loop"
)]
pub(super) enum Projection {
    /// 2-bit weights and int8 activations; norm, quantiser and product are one operation.
    Ternary(BitLinear),
    /// Float weights and activations.
    Dense(DenseLinear),
}

/// A float matrix `[out, in]`, the order of [`BitLinear`], with bias.
#[derive(Module, Debug)]
pub(super) struct DenseLinear {
    pub weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
    norm: Option<RmsNorm>,
}

impl DenseLinear {
    /// Fresh weights and biases are `U(-k, k)` with `k = sqrt(1 / input)`, as those of [`BitLinear`].
    pub fn new(input: usize, output: usize, norm: Option<RmsNorm>, device: &Device) -> Self {
        let bound = (1.0 / input as f64).sqrt();
        let fresh = Initializer::Uniform {
            min: -bound,
            max: bound,
        };
        Self {
            weight: fresh.init([output, input], device),
            bias: fresh.init([output], device),
            norm,
        }
    }

    /// `[.., in]` to `[.., out]`, in the dtype of `x`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Result<Tensor<D>, Error> {
        let x = match &self.norm {
            None => x,
            Some(norm) => {
                let norm = Norm {
                    gamma: norm.gamma.val(),
                    epsilon: norm.epsilon as f32,
                };
                rms_norm(x, norm)?
            }
        };
        let bias = self.bias.val().cast(x.dtype());
        Ok(linear(x, self.weight.val())? + bias.unsqueeze())
    }
}

impl Projection {
    /// A map from `input` features to each of `outputs`, as one matrix.
    pub fn new(
        input: usize,
        outputs: &[usize],
        kind: Kind,
        device: &Device,
    ) -> Result<Self, Error> {
        let layer = match outputs {
            [output] => BitLinearConfig::new(input, *output),
            several => BitLinearConfig::fused(input, several),
        };
        if kind.ternary {
            let layer = layer.with_bias(true).with_norm(kind.norm);
            let layer = layer.with_norm_eps(kind.epsilon).try_init(device)?;
            return Ok(Self::Ternary(layer));
        }
        let norm = RmsNormConfig::new(input).with_epsilon(kind.epsilon);
        let norm = kind.norm.then(|| norm.init(device));
        let dense = DenseLinear::new(input, layer.d_output, norm, device);
        Ok(Self::Dense(dense))
    }

    /// `[.., in]` to `[.., out]`, in the dtype of `x`.
    pub fn forward(&self, x: Tensor<3>) -> Result<Tensor<3>, Error> {
        match self {
            Self::Ternary(layer) => layer.try_forward(x),
            Self::Dense(layer) => layer.forward(x),
        }
    }
}
