//! What a BitNet b1.58 checkpoint says about its model: [`DecoderConfig`].
//!
//! Read from and written to Hugging Face's `config.json` (the `hf` file beside this one) and the
//! metadata of a GGUF file (`gguf`).

mod error;
mod gguf;
mod hf;
mod validate;

pub use error::ConfigError;
pub use gguf::GgufArchitecture;

/// Shape and constants of a BitNet b1.58 language model.
///
/// Fields are named as in `config.json`. Readers return validated values only; one put together by
/// hand is checked by [`validate`](Self::validate).
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width between gate/up and down.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; each serves `num_attention_heads / num_key_value_heads` query heads.
    pub num_key_value_heads: usize,
    /// Width of a head, even: rotary pairs are `d` and `d + head_dim / 2`.
    pub head_dim: usize,
    /// Longest sequence that the model was trained for.
    pub max_position_embeddings: usize,
    /// Added to the mean square in every norm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Whether the output head is the embedding.
    pub tie_word_embeddings: bool,
    /// Standard deviation of freshly made weights. Nothing here needs it; it travels along.
    pub initializer_range: f64,
    /// First token of a sequence.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a sequence; there may be several, or none.
    pub eos_token_ids: Vec<u32>,
    /// Filler of ragged batches.
    pub pad_token_id: Option<u32>,
    /// How the projections are stored and multiplied.
    pub quantization: Quantization,
}

/// How the weights of the projections are stored, and so how they are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quantization {
    /// Plain float weights and activations: no `quantization_config`.
    Dense,
    /// Float master weights, to be quantised to ternary codes; int8 activations.
    Online,
    /// Ternary codes with their scale; int8 activations.
    Packed {
        /// Whether a stored scale is γ or 1/γ.
        linear_class: LinearClass,
    },
}

impl Quantization {
    /// Whether products are of ternary codes and int8 activations.
    pub fn is_ternary(self) -> bool {
        self != Self::Dense
    }
}

/// The layer class named in `quantization_config`, which decides what `weight_scale` means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LinearClass {
    /// `weight_scale` is 1/γ: results are divided by it. What an absent field means.
    #[default]
    BitLinear,
    /// `weight_scale` is γ: results are multiplied by it.
    AutoBitLinear,
}

impl DecoderConfig {
    /// The sizes of `microsoft/bitnet-b1.58-2B-4T`, packed.
    pub fn b1_58_2b_4t() -> Self {
        Self {
            vocab_size: 128_256,
            hidden_size: 2560,
            intermediate_size: 6912,
            num_hidden_layers: 30,
            num_attention_heads: 20,
            num_key_value_heads: 5,
            head_dim: 128,
            max_position_embeddings: 4096,
            rms_norm_eps: 1e-5,
            rope_theta: 500_000.0,
            tie_word_embeddings: true,
            initializer_range: 0.02,
            bos_token_id: Some(128_000),
            eos_token_ids: vec![128_001],
            pad_token_id: None,
            quantization: Quantization::Packed {
                linear_class: LinearClass::AutoBitLinear,
            },
        }
    }

    /// Two layers of 128 and a vocabulary of 512, for trying things out: a model of these sizes loads
    /// at once. Rows are whole blocks of 128, so that every format can hold it.
    ///
    /// # Examples
    ///
    /// ```
    /// use tritburn_models::DecoderConfig;
    ///
    /// let config = DecoderConfig::tiny();
    /// assert!(config.validate().is_ok());
    /// assert!(config.parameter_count() < 500_000);
    /// ```
    pub fn tiny() -> Self {
        Self {
            vocab_size: 512,
            hidden_size: 128,
            intermediate_size: 384,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 32,
            max_position_embeddings: 512,
            bos_token_id: Some(1),
            eos_token_ids: vec![2],
            ..Self::b1_58_2b_4t()
        }
    }

    /// Width of all query heads together: rows of `q_proj`, columns of `o_proj`.
    pub fn query_size(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Width of all key (or value) heads together: rows of `k_proj` and of `v_proj`.
    pub fn key_value_size(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// Parameters of the model, tied ones once.
    pub fn parameter_count(&self) -> u64 {
        let [hidden, ffn, q, kv] = [
            self.hidden_size,
            self.intermediate_size,
            self.query_size(),
            self.key_value_size(),
        ]
        .map(|n| n as u64);
        let projections = hidden * (2 * q + 2 * kv) + 3 * hidden * ffn;
        let norms = 2 * hidden + q + ffn;
        let embeddings = if self.tie_word_embeddings { 1 } else { 2 };
        (projections + norms) * self.num_hidden_layers as u64
            + hidden
            + embeddings * self.vocab_size as u64 * hidden
    }
}
