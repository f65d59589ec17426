//! Causal self-attention with rotary positions.

use burn::module::Module;
use burn::nn::{RmsNorm, RotaryEncoding};
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Device, Tensor};

use super::{ConfigError, ModelConfig, Projection};

/// Multi-head causal self-attention.
#[derive(Module, Debug)]
pub struct Attention {
    /// Query, key and value as one matrix: their input is quantised once.
    qkv: Projection,
    sub_norm: RmsNorm,
    output: Projection,
    heads: usize,
}

impl Attention {
    pub(super) fn new(config: &ModelConfig, device: &Device) -> Result<Self, ConfigError> {
        let (d, dense) = (config.d_model, config.dense);
        Ok(Self {
            qkv: Projection::new(dense, d, &[d, d, d], device)?,
            sub_norm: config.norm(d, device),
            output: Projection::new(dense, d, &[d], device)?,
            heads: config.heads,
        })
    }

    /// Attends from each position of `x`, `[batch, length, d_model]`, to itself and those before
    /// it, those in `cache` included; the keys and values of `x` are appended to the cache.
    pub fn forward(
        &self,
        x: Tensor<3>,
        rope: &RotaryEncoding,
        cache: Option<&mut KvCache>,
    ) -> Tensor<3> {
        let [batch, length, width] = x.dims();
        let heads = |x: Tensor<3>| {
            x.reshape([batch, length, self.heads, width / self.heads])
                .swap_dims(1, 2)
        };
        let [query, key, value] = self
            .qkv
            .forward(x)
            .chunk(3, 2)
            .try_into()
            .expect("three equal parts of 3 x d_model");
        let start = cache.as_ref().map_or(0, |cache| cache.len());
        let query = rope.apply(heads(query), start);
        let key = rope.apply(heads(key), start);
        let value = heads(value);
        let (key, value) = match cache {
            Some(cache) => cache.append(key, value),
            None => (key, value),
        };
        let causal = AttentionModuleOptions {
            is_causal: true,
            ..Default::default()
        };
        let mixed = attention(query, key, value, None, None, causal)
            .swap_dims(1, 2)
            .reshape([batch, length, width]);
        self.output.forward(self.sub_norm.forward(mixed))
    }
}

/// Keys and values of the positions one attention layer has seen, `[batch, heads, length, width]`.
#[derive(Debug, Default)]
pub struct KvCache {
    seen: Option<(Tensor<4>, Tensor<4>)>,
}

impl KvCache {
    /// Number of positions held.
    pub fn len(&self) -> usize {
        self.seen.as_ref().map_or(0, |(key, _)| key.dims()[2])
    }

    /// Whether no position is held.
    pub fn is_empty(&self) -> bool {
        self.seen.is_none()
    }

    fn append(&mut self, key: Tensor<4>, value: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let (key, value) = match self.seen.take() {
            Some((keys, values)) => (
                Tensor::cat(vec![keys, key], 2),
                Tensor::cat(vec![values, value], 2),
            ),
            None => (key, value),
        };
        self.seen = Some((key.clone(), value.clone()));
        (key, value)
    }
}
