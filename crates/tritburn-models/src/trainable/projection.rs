//! The one place where the ternary model and its float twin differ.

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};
use tritburn::{BitLinear, BitLinearConfig, Error};

/// A linear map without bias: ternary, or float in the twin.
#[derive(Module, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "four a layer, and none is moved in a loop"
)]
pub(super) enum Projection {
    /// 2-bit weights and int8 activations.
    Ternary(BitLinear),
    /// Float weights and activations.
    Dense(DenseLinear),
}

/// A float matrix `[out, in]`, the order of [`BitLinear`] and of files.
#[derive(Module, Debug)]
pub(super) struct DenseLinear {
    weight: Param<Tensor<2>>,
}

impl Projection {
    /// A map from `input` features to each of `outputs`, as one matrix. Fresh weights are
    /// `U(-k, k)` with `k = sqrt(1 / input)`, in both forms.
    pub fn new(
        ternary: bool,
        input: usize,
        outputs: &[usize],
        device: &Device,
    ) -> Result<Self, Error> {
        let config = match outputs {
            [output] => BitLinearConfig::new(input, *output),
            several => BitLinearConfig::fused(input, several),
        };
        if ternary {
            return Ok(Self::Ternary(config.try_init(device)?));
        }
        let bound = (1.0 / input as f64).sqrt();
        let fresh = Initializer::Uniform {
            min: -bound,
            max: bound,
        };
        Ok(Self::Dense(DenseLinear {
            weight: fresh.init([config.d_output, input], device),
        }))
    }

    /// `[.., in]` to `[.., out]`, in the dtype of `x`.
    pub fn forward(&self, x: Tensor<3>) -> Result<Tensor<3>, Error> {
        match self {
            Self::Ternary(layer) => layer.try_forward(x),
            Self::Dense(DenseLinear { weight }) => {
                let weight = weight.val().cast(x.dtype());
                Ok(x.matmul(weight.transpose().unsqueeze()))
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

    /// Puts latent weights `[out, in]` in the place of the fresh ones.
    pub fn set_latent(&mut self, latent: Tensor<2>) {
        let weight = match self {
            Self::Ternary(layer) => &mut layer.weight,
            Self::Dense(layer) => &mut layer.weight,
        };
        *weight = Param::from_tensor(latent);
    }
}
