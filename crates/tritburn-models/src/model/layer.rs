//! One decoder layer: attention and gated feed-forward, each with a sub-norm before its output
//! projection (SubLN, Wang et al. 2022, arXiv 2210.06423).

use burn::tensor::Tensor;
use tritburn::transformer::{self, LayerCache, Tokens};

use super::error::ModelError;
use super::linear::Linear;
use super::norm::Norm;

/// Weights of a decoder layer; q|k|v and gate|up are fused.
#[derive(Clone, Debug)]
pub(super) struct DecoderLayer {
    pub input_norm: Norm,
    pub qkv: Linear,
    pub attention_sub_norm: Norm,
    pub output: Linear,
    pub post_attention_norm: Norm,
    pub gate_up: Linear,
    pub ffn_sub_norm: Norm,
    pub down: Linear,
}

/// The residual stream between two blocks: what was there and what the last block adds, summed by
/// the norm that comes next.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub sum: Tensor<2>,
    pub delta: Option<Tensor<2>>,
}

impl DecoderLayer {
    /// Applies the layer to the stream of `tokens`, whose keys and values go to `cache`.
    pub fn forward(
        &self,
        stream: Stream,
        table: &Tensor<1>,
        tokens: &Tokens,
        cache: &mut LayerCache,
    ) -> Result<Stream, ModelError> {
        let dtype = stream.sum.dtype();
        let (sum, x) = self.input_norm.forward(stream.sum, stream.delta)?;
        let qkv = self.qkv.forward(x, dtype)?;
        let q = transformer::rotary_append(qkv, table.clone(), tokens, cache)?;
        let attended = transformer::attention(q, cache, tokens)?;
        let (_, x) = self.attention_sub_norm.forward(attended, None)?;
        let delta = self.output.forward(x, dtype)?;

        let (sum, x) = self.post_attention_norm.forward(sum, Some(delta))?;
        let gate_up = self.gate_up.forward(x, dtype)?;
        let x = self.ffn_sub_norm.forward_gated(gate_up)?;
        let delta = Some(self.down.forward(x, dtype)?);
        Ok(Stream { sum, delta })
    }

    /// Bytes of the projections on the device.
    pub fn byte_count(&self) -> usize {
        [&self.qkv, &self.output, &self.gate_up, &self.down]
            .map(Linear::byte_count)
            .into_iter()
            .sum()
    }
}
