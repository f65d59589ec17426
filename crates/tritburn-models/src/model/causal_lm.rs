//! The whole decoder.

use burn::tensor::{DType, Device, Int, Tensor};
use tritburn::transformer::{Heads, LayerCache, Tokens};

use super::cache::KvCache;
use super::embedding::Embedding;
use super::error::ModelError;
use super::head::Head;
use super::layer::{DecoderLayer, Stream};
use super::norm::Norm;
use super::options::{LoadOptions, Precision};
use super::rotary::RotaryTables;
use crate::config::DecoderConfig;

/// A decoder-only language model on a device, ready to run.
///
/// Weights stay packed. [`forward`](Self::forward) works on the concatenated tokens of any number
/// of sequences; [`Session`](crate::generate::Session) keeps the books of sequences, cache and
/// captured graphs.
#[derive(Debug)]
pub struct CausalLm {
    pub(super) config: DecoderConfig,
    pub(super) options: LoadOptions,
    pub(super) precision: Precision,
    pub(super) device: Device,
    pub(super) embedding: Embedding,
    pub(super) head: Head,
    pub(super) layers: Vec<DecoderLayer>,
    pub(super) norm: Norm,
    pub(super) rotary: RotaryTables,
}

/// Hidden states of a batch of tokens behind the last layer, before the final norm.
#[derive(Clone, Debug)]
pub struct Hidden(pub(super) Stream);

impl CausalLm {
    /// The architecture.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// How the checkpoint was loaded; the precision is the one it runs in.
    pub fn options(&self) -> &LoadOptions {
        &self.options
    }

    /// What the projections multiply.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Bytes of weights on the device: projections, embedding, head.
    pub fn byte_count(&self) -> usize {
        let layers: usize = self.layers.iter().map(DecoderLayer::byte_count).sum();
        // A tied table is there once.
        let head = match self.config.tie_word_embeddings && self.head.is(&self.embedding) {
            true => 0,
            false => self.head.byte_count(),
        };
        self.embedding.byte_count() + head + layers
    }

    /// Bytes of weights that a step reads: projections and head. Of an embedding table that is not the head, a step
    /// reads a row a token.
    pub fn bytes_read(&self) -> usize {
        let layers: usize = self.layers.iter().map(DecoderLayer::byte_count).sum();
        layers + self.head.byte_count()
    }

    /// An empty cache for `rows` sequences of up to `capacity` tokens.
    ///
    /// # Errors
    /// [`ModelError::Context`] for more positions than the model has, [`ModelError::Window`] for more than
    /// its sliding layers see, [`ModelError::Operation`] for a
    /// cache without room or heads that the device has no kernels for.
    pub fn cache(&self, rows: usize, capacity: usize) -> Result<KvCache, ModelError> {
        let dtype = self.check_capacity(capacity)?;
        Ok(KvCache::new(self.layers.len(), || {
            LayerCache::new(rows, capacity, self.heads(), dtype, &self.device)
        })?)
    }

    /// An empty cache of `blocks` blocks of `positions` positions, for sequences of up to `capacity` tokens
    /// whose blocks a table lists: see [`Tokens::in_blocks`].
    ///
    /// # Errors
    /// As [`cache`](Self::cache).
    pub fn paged_cache(
        &self,
        blocks: usize,
        positions: usize,
        capacity: usize,
    ) -> Result<KvCache, ModelError> {
        let dtype = self.check_capacity(capacity)?;
        let (heads, device) = (self.heads(), &self.device);
        Ok(KvCache::new(self.layers.len(), || {
            LayerCache::paged(blocks, positions, capacity, heads, dtype, device)
        })?)
    }

    /// Refuses sequences that are longer than the model's context, or than what its sliding layers see; the
    /// element type of a cache.
    fn check_capacity(&self, capacity: usize) -> Result<DType, ModelError> {
        let available = self.config.max_position_embeddings;
        let window = self.config.longest_sequence();
        if capacity > available {
            return Err(ModelError::Context {
                row: 0,
                needed: capacity,
                available,
            });
        }
        if capacity > window {
            return Err(ModelError::Window {
                needed: capacity,
                window,
            });
        }
        Ok(self.options.cache_dtype.unwrap_or(self.options.dtype))
    }

    /// Runs `ids` U32 `[tokens]` through all layers; their keys and values go to `cache`.
    ///
    /// # Errors
    /// [`ModelError::Operation`] for operands of other shapes or devices than the model's.
    pub fn forward(
        &self,
        ids: Tensor<1, Int>,
        tokens: &Tokens,
        cache: &mut KvCache,
    ) -> Result<Hidden, ModelError> {
        let sum = self.embed(ids)?;
        let capacity = cache.capacity();
        let mut stream = Stream { sum, delta: None };
        for (index, (layer, cache)) in self.layers.iter().zip(&mut cache.layers).enumerate() {
            let table = self.rotary.of_layer(self.config.slides(index), capacity);
            stream = layer.forward(stream, table, tokens, cache)?;
        }
        Ok(Hidden(stream))
    }

    /// The residual stream in front of the first layer.
    pub(super) fn embed(&self, ids: Tensor<1, Int>) -> Result<Tensor<2>, ModelError> {
        let rows = self.embedding.rows(ids, self.options.dtype)?;
        Ok(match self.config.multipliers.embedding {
            1.0 => rows,
            factor => rows * factor as f32,
        })
    }

    /// Normalised hidden states, what the head reads: `[tokens, hidden]` in the model's type.
    ///
    /// # Errors
    /// [`ModelError::Operation`].
    pub fn states(&self, hidden: Hidden) -> Result<Tensor<2>, ModelError> {
        let Stream { sum, delta } = hidden.0;
        self.norm.forward_float(sum, delta)
    }

    /// Logits of hidden states: F32 `[tokens, vocabulary]`.
    ///
    /// # Errors
    /// [`ModelError::Operation`].
    pub fn logits(&self, hidden: Hidden) -> Result<Tensor<2>, ModelError> {
        self.head.forward(self.states(hidden)?)
    }

    /// Shape of the attention.
    pub fn heads(&self) -> Heads {
        Heads {
            query: self.config.num_attention_heads,
            key_value: self.config.num_key_value_heads,
            size: self.config.head_dim,
        }
    }

    /// Element type of hidden states.
    pub fn dtype(&self) -> DType {
        self.options.dtype
    }
}

impl Hidden {
    /// The hidden states of some tokens only, by their index in the batch.
    pub fn select(self, indices: Tensor<1, Int>) -> Self {
        let Stream { sum, delta } = self.0;
        Self(Stream {
            sum: sum.select(0, indices.clone()),
            delta: delta.map(|delta| delta.select(0, indices)),
        })
    }
}
