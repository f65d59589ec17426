//! What a checkpoint says about its model: [`DecoderConfig`].
//!
//! Read from and written to Hugging Face's `config.json` (the `hf` folder beside this one) and the
//! metadata of a GGUF file (`gguf`). What differs from family to family stands in
//! [`families`](crate::families).

mod affine;
mod error;
pub(crate) mod gguf;
pub(crate) mod hf;
mod rope;
mod validate;
mod window;

use serde::{Deserialize, Serialize};
use tritburn::InputPrecision;
pub use tritburn::transformer::GatedActivation;

pub use crate::families::Family;
pub use affine::AffineStorage;
pub use error::ConfigError;
pub use gguf::GgufFacts;
pub use rope::RopeScaling;
pub use window::SlidingLayers;

/// Shape and constants of a decoder-only language model.
///
/// Fields are named as in `config.json` where that has them. Readers return validated values only;
/// one put together by hand is checked by [`validate`](Self::validate).
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
    /// What the model is published as: names of keys and tensors, defaults.
    pub family: Family,
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
    /// Width of a head, even: rotary pairs are `d` and `d + rotary_dim / 2`.
    pub head_dim: usize,
    /// Longest sequence that the model was trained for.
    pub max_position_embeddings: usize,
    /// What is applied to the gate.
    pub hidden_act: GatedActivation,
    /// Whether attention and the gated product are normalised before `o` and `down` (SubLN, Wang et
    /// al. 2022, arXiv 2210.06423).
    pub sub_norms: bool,
    /// Whether what attention and the gated unit give is normalised before it is added to the residual
    /// stream.
    pub post_norms: bool,
    /// Whether heads of queries and keys are normalised before they are rotated.
    pub head_norms: bool,
    /// Epsilon of a norm on the input of every projection; `None` where there are none.
    pub projection_norm_eps: Option<f64>,
    /// Which projections have a bias.
    pub biases: Biases,
    /// Added to the mean square in every other norm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How the frequencies were stretched.
    pub rope_scaling: RopeScaling,
    /// Layers that see a window of positions, in models that have them.
    pub sliding: Option<SlidingLayers>,
    /// Share of a head that is rotated.
    pub partial_rotary_factor: f64,
    /// Constant factors of embedding, residuals and logits.
    pub multipliers: Multipliers,
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
    /// How the projections are stored.
    pub quantization: Quantization,
    /// What ternary projections were trained to multiply: int8 activations, or floats.
    pub inputs: InputPrecision,
}

/// How the weights of the projections are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quantization {
    /// Plain float weights and activations: no `quantization_config`.
    Dense,
    /// Products of ternary codes and scales, written out as floats.
    Unpacked,
    /// Float master weights, to be quantised to ternary codes.
    Online,
    /// Ternary codes with their scale.
    Packed {
        /// Whether a stored scale is γ or 1/γ.
        linear_class: LinearClass,
    },
    /// Codes of 2, 3 or 4 bits with a scale and a zero point per group of inputs.
    Affine(AffineStorage),
}

impl Quantization {
    /// Whether weights are ternary, whatever form they have in the file.
    pub fn is_ternary(self) -> bool {
        !matches!(self, Self::Dense | Self::Affine(_))
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

/// Which projections add a bias to their result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Biases {
    /// q, k and v.
    pub qkv: bool,
    /// o.
    pub output: bool,
    /// gate, up and down.
    pub ffn: bool,
}

/// Constant factors: 1 unless the model was trained with maximal update parametrisation (μP, Yang et
/// al. 2022, arXiv 2203.03466), or is a Gemma.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Multipliers {
    /// Of the embedding.
    pub embedding: f64,
    /// Of what every block adds to the residual stream.
    pub residual: f64,
    /// Of the queries, and so of the scores beside `1 / √head_dim`.
    pub queries: f64,
    /// Of the logits.
    pub logits: f64,
}

impl Default for Multipliers {
    fn default() -> Self {
        Self {
            embedding: 1.0,
            residual: 1.0,
            queries: 1.0,
            logits: 1.0,
        }
    }
}

impl DecoderConfig {
    /// The sizes of `microsoft/bitnet-b1.58-2B-4T`, packed.
    pub fn b1_58_2b_4t() -> Self {
        Self {
            family: Family::BitNet,
            vocab_size: 128_256,
            hidden_size: 2560,
            intermediate_size: 6912,
            num_hidden_layers: 30,
            num_attention_heads: 20,
            num_key_value_heads: 5,
            head_dim: 128,
            max_position_embeddings: 4096,
            hidden_act: GatedActivation::SquaredRelu,
            sub_norms: true,
            post_norms: false,
            head_norms: false,
            projection_norm_eps: None,
            biases: Biases::default(),
            rms_norm_eps: 1e-5,
            rope_theta: 500_000.0,
            rope_scaling: RopeScaling::None,
            sliding: None,
            partial_rotary_factor: 1.0,
            multipliers: Multipliers::default(),
            tie_word_embeddings: true,
            initializer_range: 0.02,
            bos_token_id: Some(128_000),
            eos_token_ids: vec![128_001],
            pad_token_id: None,
            quantization: Quantization::Packed {
                linear_class: LinearClass::AutoBitLinear,
            },
            inputs: InputPrecision::Int8,
        }
    }

    /// The sizes of `HF1BitLLM/Llama3-8B-1.58-100B-tokens`, packed: no sub-norms, SiLU, a head of its
    /// own.
    pub fn llama3_8b_1_58() -> Self {
        Self {
            family: Family::Llama,
            hidden_size: 4096,
            intermediate_size: 14_336,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: 8,
            max_position_embeddings: 8192,
            hidden_act: GatedActivation::Silu,
            sub_norms: false,
            tie_word_embeddings: false,
            ..Self::b1_58_2b_4t()
        }
    }

    /// The sizes of `tiiuae/Falcon3-10B-Instruct-1.58bit`, packed.
    pub fn falcon3_10b_1_58() -> Self {
        Self {
            vocab_size: 131_072,
            hidden_size: 3072,
            intermediate_size: 23_040,
            num_hidden_layers: 40,
            num_attention_heads: 12,
            num_key_value_heads: 4,
            head_dim: 256,
            max_position_embeddings: 32_768,
            rms_norm_eps: 1e-6,
            rope_theta: 1_000_042.0,
            bos_token_id: Some(11),
            eos_token_ids: vec![11],
            ..Self::llama3_8b_1_58()
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
        let table = (self.vocab_size * self.hidden_size) as u64;
        let tables = table * self.tables().len() as u64;
        let norms: u64 = self.norms().map(|norm| self.norm_size(norm) as u64).sum();
        let projections = self.projections().map(|(_, projection)| {
            let [out, input] = self.projection_shape(projection);
            (out * input + if self.has_bias(projection) { out } else { 0 }) as u64
        });
        tables + norms + projections.sum::<u64>()
    }
}
