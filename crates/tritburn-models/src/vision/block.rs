//! One block of the transformer.

use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig};
use burn::tensor::{DType, Device, Tensor};
use tritburn::Error;
use tritburn::training::{attention, gelu};

use super::config::{TernaryLayers, VisionConfig};
use super::drop_path::DropPath;
use super::projection::{Kind, Projection};

/// Attention and a feed-forward part, each added to what comes in.
#[derive(Module, Debug)]
pub(super) struct Block {
    norm: LayerNorm,
    /// q|k|v as one matrix.
    qkv: Projection,
    output: Projection,
    up: Projection,
    down: Projection,
}

impl Block {
    pub fn new(config: &VisionConfig, device: &Device) -> Result<Self, Error> {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let heads = config.heads();
        let key_value = heads.key_value * heads.size;
        let kind = |ternary, norm| Kind {
            ternary,
            norm,
            epsilon: config.norm_eps,
        };
        let attention = config.ternary == TernaryLayers::All;
        let feed_forward = config.ternary != TernaryLayers::None;
        let inside = kind(feed_forward, true);
        Ok(Self {
            norm: layer_norm(config, device),
            qkv: Projection::new(
                width,
                &[width, key_value, key_value],
                kind(attention, false),
                device,
            )?,
            output: Projection::new(width, &[width], kind(attention, attention), device)?,
            up: Projection::new(width, &[inner], inside, device)?,
            down: Projection::new(inner, &[width], inside, device)?,
        })
    }

    /// Applies block number `index` to the residual stream `[batch, tokens, width]`.
    pub fn forward(
        &self,
        x: Tensor<3>,
        config: &VisionConfig,
        dropped: Option<(DropPath, usize)>,
    ) -> Result<Tensor<3>, Error> {
        let kept = |branch: Tensor<3>, number: usize| match dropped {
            Some((path, index)) => path.apply(branch, 2 * index + number),
            None => branch,
        };
        let qkv = self.qkv.forward(normalise(&self.norm, x.clone()))?;
        let mixed = attention(qkv, config.heads(), config.causal)?;
        let seen = self.output.forward(mixed)?;
        let x = x + kept(seen, 0);
        let inner = gelu(self.up.forward(x.clone())?);
        let thought = self.down.forward(inner)?;
        Ok(x + kept(thought, 1))
    }
}

/// A fresh layer norm of the residual stream.
pub(super) fn layer_norm(config: &VisionConfig, device: &Device) -> LayerNorm {
    LayerNormConfig::new(config.hidden_size)
        .with_epsilon(config.norm_eps)
        .init(device)
}

/// A layer norm whose statistics are f32, in the dtype of `x`.
pub(super) fn normalise<const D: usize>(norm: &LayerNorm, x: Tensor<D>) -> Tensor<D> {
    let dtype = x.dtype();
    norm.forward(x.cast(DType::F32)).cast(dtype)
}
