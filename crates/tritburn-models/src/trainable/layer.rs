//! One decoder layer, with gradients: the twin of the inference model's.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use tritburn::Error;
use tritburn::training::{GatedActivation, Heads, rotary_attention};

use super::projection::Projection;
use crate::config::DecoderConfig;

/// Weights of a decoder layer: q|k|v and gate|up are one matrix each, with a norm in front. Norms of
/// `output` and `down` are the sub-norms (SubLN), which not every family has.
#[derive(Module, Debug)]
pub(super) struct TrainableLayer {
    pub qkv: Projection,
    pub output: Projection,
    pub gate_up: Projection,
    pub down: Projection,
    #[module(skip)]
    activation: GatedActivation,
}

impl TrainableLayer {
    pub fn new(config: &DecoderConfig, device: &Device) -> Result<Self, Error> {
        let (hidden, ffn) = (config.hidden_size, config.intermediate_size);
        let (query, key_value) = (config.query_size(), config.key_value_size());
        let projection = |input, outputs: &[usize], has_norm| {
            Projection::new(config, input, outputs, has_norm, device)
        };
        let sub_norms = config.sub_norms;
        Ok(Self {
            qkv: projection(hidden, &[query, key_value, key_value], true)?,
            output: projection(query, &[hidden], sub_norms)?,
            gate_up: projection(hidden, &[ffn, ffn], true)?,
            down: projection(ffn, &[hidden], sub_norms)?,
            activation: config.hidden_act,
        })
    }

    /// Applies the layer to the residual stream `[batch, length, hidden]`, quantised by `share`.
    pub fn forward(
        &self,
        x: Tensor<3>,
        table: &Tensor<1>,
        heads: Heads,
        share: f32,
    ) -> Result<Tensor<3>, Error> {
        let qkv = self.qkv.forward(x.clone(), share)?;
        let attended = rotary_attention(qkv, Some(table.clone()), heads)?;
        let x = x + self.output.forward(attended, share)?;
        let gate_up = self.gate_up.forward(x.clone(), share)?;
        Ok(x + self.down.forward_gated(gate_up, self.activation, share)?)
    }
}
