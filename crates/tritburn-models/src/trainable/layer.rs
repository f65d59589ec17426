//! One decoder layer, with gradients: the twin of the inference model's.

use burn::module::Module;
use burn::nn::{RmsNorm, RmsNormConfig};
use burn::tensor::{Device, Tensor};
use tritburn::Error;
use tritburn::transformer::Heads;

use super::ops;
use super::projection::Projection;
use crate::config::BitNetConfig;

/// Weights of a decoder layer; q|k|v and gate|up are one matrix each.
#[derive(Module, Debug)]
pub(super) struct TrainableLayer {
    pub input_norm: RmsNorm,
    pub qkv: Projection,
    pub attention_sub_norm: RmsNorm,
    pub output: Projection,
    pub post_attention_norm: RmsNorm,
    pub gate_up: Projection,
    pub ffn_sub_norm: RmsNorm,
    pub down: Projection,
}

impl TrainableLayer {
    pub fn new(config: &BitNetConfig, device: &Device) -> Result<Self, Error> {
        let (hidden, ffn) = (config.hidden_size, config.intermediate_size);
        let (query, key_value) = (config.query_size(), config.key_value_size());
        let projection = |input, outputs: &[usize]| {
            Projection::new(config.quantization.is_ternary(), input, outputs, device)
        };
        Ok(Self {
            input_norm: norm(config, hidden, device),
            qkv: projection(hidden, &[query, key_value, key_value])?,
            attention_sub_norm: norm(config, query, device),
            output: projection(query, &[hidden])?,
            post_attention_norm: norm(config, hidden, device),
            gate_up: projection(hidden, &[ffn, ffn])?,
            ffn_sub_norm: norm(config, ffn, device),
            down: projection(ffn, &[hidden])?,
        })
    }

    /// Applies the layer to the residual stream `[batch, length, hidden]`.
    pub fn forward(
        &self,
        x: Tensor<3>,
        table: &Tensor<1>,
        heads: Heads,
    ) -> Result<Tensor<3>, Error> {
        let qkv = self
            .qkv
            .forward(ops::rms_norm(x.clone(), &self.input_norm))?;
        let attended = ops::rotary_attention(qkv, table, heads);
        let attended = ops::rms_norm(attended, &self.attention_sub_norm);
        let x = x + self.output.forward(attended)?;

        let y = ops::rms_norm(x.clone(), &self.post_attention_norm);
        let gated = ops::relu2_gate(self.gate_up.forward(y)?);
        let gated = ops::rms_norm(gated, &self.ffn_sub_norm);
        Ok(x + self.down.forward(gated)?)
    }
}

/// A fresh norm of `width` features.
pub(super) fn norm(config: &BitNetConfig, width: usize, device: &Device) -> RmsNorm {
    RmsNormConfig::new(width)
        .with_epsilon(config.rms_norm_eps)
        .init(device)
}
