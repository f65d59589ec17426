//! The whole model: bytes in, logits of the next byte out.

use burn::module::{Initializer, Module};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Embedding, EmbeddingConfig, RmsNorm, RotaryEncoding, RotaryEncodingConfig};
use burn::tensor::{Device, Int, Tensor};

use super::{Block, ConfigError, KvCache, ModelConfig, VOCABULARY};

/// Standard deviation of the fresh embedding. Small, because it is the output layer too.
const EMBEDDING_STD: f64 = 0.02;

/// A decoder-only transformer over bytes. Created with [`ModelConfig::init`].
#[derive(Module, Debug)]
pub struct LanguageModel {
    /// `[256, d_model]`, float; also the output layer.
    embedding: Embedding,
    blocks: Vec<Block>,
    norm: RmsNorm,
    rope: RotaryEncoding,
}

impl LanguageModel {
    pub(super) fn new(config: &ModelConfig, device: &Device) -> Result<Self, ConfigError> {
        let initializer = Initializer::Normal {
            mean: 0.0,
            std: EMBEDDING_STD,
        };
        let blocks = (0..config.layers).map(|_| Block::new(config, device));
        Ok(Self {
            embedding: EmbeddingConfig::new(VOCABULARY, config.d_model)
                .with_initializer(initializer)
                .init(device),
            blocks: blocks.collect::<Result<_, _>>()?,
            norm: config.norm(config.d_model, device),
            rope: RotaryEncodingConfig::new(config.context, config.head_width())
                .with_theta(config.rope_theta)
                .init(device),
        })
    }

    /// Logits of the byte after each byte of `bytes`: `[batch, length]` to `[batch, length, 256]`.
    ///
    /// `length` is at most the context.
    pub fn forward(&self, bytes: Tensor<2, Int>) -> Tensor<3> {
        let mut x = self.embedding.forward(bytes);
        for block in &self.blocks {
            x = block.forward(x, &self.rope, None);
        }
        self.logits(x)
    }

    /// As [`forward`](Self::forward), after the bytes that `state` has seen; remembers these too.
    ///
    /// `length`, together with what `state` has seen, is at most the context.
    pub fn decode(&self, bytes: Tensor<2, Int>, state: &mut DecodeState) -> Tensor<3> {
        let mut x = self.embedding.forward(bytes);
        for (block, cache) in self.blocks.iter().zip(&mut state.caches) {
            x = block.forward(x, &self.rope, Some(cache));
        }
        self.logits(x)
    }

    /// The state from which to [`decode`](Self::decode) a new text.
    pub fn start(&self) -> DecodeState {
        DecodeState {
            caches: self.blocks.iter().map(|_| KvCache::default()).collect(),
        }
    }

    /// Mean cross-entropy, in nats a byte, of predicting `targets` from `inputs`, both
    /// `[batch, length]`.
    pub fn loss(&self, inputs: Tensor<2, Int>, targets: Tensor<2, Int>) -> Tensor<1> {
        let logits = self.forward(inputs).flatten::<2>(0, 1);
        let loss = CrossEntropyLossConfig::new().init(&logits.device());
        loss.forward(logits, targets.flatten(0, 1))
    }

    /// The device the model lives on.
    pub fn device(&self) -> Device {
        self.embedding.weight.lazy_device()
    }

    /// Number of bytes the model sees at once.
    pub fn context(&self) -> usize {
        self.rope.freq_complex.dims()[0]
    }

    fn logits(&self, x: Tensor<3>) -> Tensor<3> {
        let output = self.embedding.weight.val().transpose();
        self.norm.forward(x).matmul(output.unsqueeze())
    }
}

/// What a model remembers of the text it is in.
#[derive(Debug)]
pub struct DecodeState {
    caches: Vec<KvCache>,
}

impl DecodeState {
    /// Number of bytes seen.
    pub fn len(&self) -> usize {
        self.caches.first().map_or(0, KvCache::len)
    }

    /// Whether no byte has been seen.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
