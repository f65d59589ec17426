//! One layer of the transformer.

use burn::module::Module;
use burn::nn::{RmsNorm, RotaryEncoding};
use burn::tensor::{Device, Tensor};

use super::{Attention, ConfigError, FeedForward, KvCache, ModelConfig};

/// Attention, then feed-forward, each on a normed input and added to the residual stream.
#[derive(Module, Debug)]
pub struct Block {
    attention_norm: RmsNorm,
    attention: Attention,
    feed_forward_norm: RmsNorm,
    feed_forward: FeedForward,
}

impl Block {
    pub(super) fn new(config: &ModelConfig, device: &Device) -> Result<Self, ConfigError> {
        Ok(Self {
            attention_norm: config.norm(config.d_model, device),
            attention: Attention::new(config, device)?,
            feed_forward_norm: config.norm(config.d_model, device),
            feed_forward: FeedForward::new(config, device)?,
        })
    }

    /// Applies the block to `x`, `[batch, length, d_model]`.
    pub fn forward(
        &self,
        x: Tensor<3>,
        rope: &RotaryEncoding,
        cache: Option<&mut KvCache>,
    ) -> Tensor<3> {
        let x = x.clone()
            + self
                .attention
                .forward(self.attention_norm.forward(x), rope, cache);
        x.clone() + self.feed_forward.forward(self.feed_forward_norm.forward(x))
    }
}
