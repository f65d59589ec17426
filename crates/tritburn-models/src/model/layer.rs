//! One decoder layer: attention and gated feed-forward, with the norms that its family has.

use burn::tensor::Tensor;
use tritburn::transformer::{self, GatedActivation, LayerCache, Tokens};

use super::error::ModelError;
use super::norm::{Norm, gated, normed};
use super::projections::Projections;

/// Weights of a decoder layer. `attention_sub_norm` and `ffn_sub_norm` are SubLN's (Wang et al. 2022,
/// arXiv 2210.06423).
#[derive(Clone, Debug)]
pub(super) struct DecoderLayer {
    pub input_norm: Norm,
    pub qkv: Projections,
    pub head_norms: Option<HeadNorms>,
    pub attention_sub_norm: Option<Norm>,
    pub output: Projections,
    pub attention_result_norm: Option<Norm>,
    pub post_attention_norm: Norm,
    pub gate_up: Projections,
    pub activation: GatedActivation,
    pub ffn_sub_norm: Option<Norm>,
    pub down: Projections,
    pub ffn_result_norm: Option<Norm>,
}

/// Norms of query and key heads.
#[derive(Clone, Debug)]
pub(super) struct HeadNorms {
    /// F32 `[2 · head_dim]`: those of queries, then those of keys.
    pub gains: Tensor<1>,
    pub epsilon: f32,
}

/// The residual stream between two blocks: what was there and what the last block adds, summed by
/// the norm that comes next.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub sum: Tensor<2>,
    pub delta: Option<Tensor<2>>,
}

/// What a block adds to the stream, normalised where the model has a norm behind the block.
fn result(norm: Option<&Norm>, delta: Tensor<2>) -> Result<Tensor<2>, ModelError> {
    match norm {
        Some(norm) => norm.forward_float(delta, None),
        None => Ok(delta),
    }
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
        let mut qkv = self.qkv.forward(x, dtype)?;
        if let Some(HeadNorms { gains, epsilon }) = &self.head_norms {
            qkv = transformer::norm_heads(qkv, gains.clone(), cache.heads(), *epsilon)?;
        }
        let q = transformer::rotary_append(qkv, table.clone(), tokens, cache)?;
        let attended = transformer::attention(q, cache, tokens)?;
        let x = normed(self.attention_sub_norm.as_ref(), attended)?;
        let delta = self.output.forward(x, dtype)?;
        let delta = result(self.attention_result_norm.as_ref(), delta)?;

        let (sum, x) = self.post_attention_norm.forward(sum, Some(delta))?;
        let gate_up = self.gate_up.forward(x, dtype)?;
        let x = gated(self.ffn_sub_norm.as_ref(), gate_up, self.activation)?;
        let delta = self.down.forward(x, dtype)?;
        let delta = Some(result(self.ffn_result_norm.as_ref(), delta)?);
        Ok(Stream { sum, delta })
    }

    /// Bytes of the projections on the device.
    pub fn byte_count(&self) -> usize {
        [&self.qkv, &self.output, &self.gate_up, &self.down]
            .map(Projections::byte_count)
            .into_iter()
            .sum()
    }
}
