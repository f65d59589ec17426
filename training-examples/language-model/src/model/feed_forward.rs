//! The gated feed-forward part.

use burn::module::Module;
use burn::nn::RmsNorm;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

use super::{ConfigError, ModelConfig, Projection};

/// `down(norm(relu(gate(x))² · up(x)))`.
#[derive(Module, Debug)]
pub struct FeedForward {
    /// Gate and up as one matrix: their input is quantised once.
    gate_up: Projection,
    sub_norm: RmsNorm,
    down: Projection,
}

impl FeedForward {
    pub(super) fn new(config: &ModelConfig, device: &Device) -> Result<Self, ConfigError> {
        let (d, ff, dense) = (config.d_model, config.d_ff, config.dense);
        Ok(Self {
            gate_up: Projection::new(dense, d, &[ff, ff], device)?,
            sub_norm: config.norm(ff, device),
            down: Projection::new(dense, ff, &[d], device)?,
        })
    }

    /// Maps `x`, `[batch, length, d_model]`, position by position.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [gate, up] = self
            .gate_up
            .forward(x)
            .chunk(2, 2)
            .try_into()
            .expect("two equal parts of 2 x d_ff");
        let gate = relu(gate);
        let hidden = gate.clone() * gate * up;
        self.down.forward(self.sub_norm.forward(hidden))
    }
}
