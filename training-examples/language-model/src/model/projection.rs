//! The one place where the ternary model and its float twin differ.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use tritburn::{BitLinear, BitLinearConfig};

use super::ConfigError;

/// A linear map without bias: ternary, or float in the twin.
#[derive(Module, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a handful of layers a model, none of them moved"
)]
pub enum Projection {
    /// 2-bit weights and 8-bit activations.
    Ternary(BitLinear),
    /// Float weights and activations.
    Dense(Linear),
}

impl Projection {
    /// A map from `d_input` features to each of `d_outputs`, fused into one matrix.
    pub(super) fn new(
        dense: bool,
        d_input: usize,
        d_outputs: &[usize],
        device: &Device,
    ) -> Result<Self, ConfigError> {
        if dense {
            let config = LinearConfig::new(d_input, d_outputs.iter().sum()).with_bias(false);
            return Ok(Self::Dense(config.init(device)));
        }
        let config = match d_outputs {
            [d_output] => BitLinearConfig::new(d_input, *d_output),
            several => BitLinearConfig::fused(d_input, several),
        };
        Ok(Self::Ternary(config.try_init(device)?))
    }

    /// `[.., d_input]` to `[.., sum of d_outputs]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Ternary(layer) => layer.forward(x),
            Self::Dense(layer) => layer.forward(x),
        }
    }
}
