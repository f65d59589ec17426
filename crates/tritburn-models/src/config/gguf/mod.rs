//! Configurations in GGUF metadata, both ways, for every [`Family`].

mod keys;
mod write;

use tritburn::InputPrecision;
use tritburn_formats::file::gguf::{Metadata, Value};

pub(crate) use keys::{KEYS, Keys};

use super::hf::{activation, share_of_heads};
use super::{Biases, ConfigError, DecoderConfig, Family, Multipliers, Quantization};

/// What a model multiplies, in tritburn's files: other programs decide that for themselves.
const INPUTS: &str = "tritburn.inputs";
const INT8: &str = "int8";
const FLOAT: &str = "float";

/// Tensors of divisors of the rotary frequencies: of all contexts, of short ones, of long ones.
pub(crate) const ROPE_FACTORS: [&str; 3] = [
    "rope_freqs.weight",
    "rope_factors_short.weight",
    "rope_factors_long.weight",
];

/// What only the tensors of a GGUF file tell about its model.
#[derive(Clone, Debug)]
pub struct GgufFacts {
    /// Whether there is an output head of its own.
    pub has_output: bool,
    /// How projections are stored.
    pub quantization: Quantization,
    /// What they multiply where the metadata does not say it.
    pub inputs: InputPrecision,
    /// Whether there are norms before the output projections.
    pub sub_norms: bool,
    /// Whether there are norms behind attention and the feed-forward part.
    pub post_norms: bool,
    /// Whether there are norms in front of every projection.
    pub projection_norms: bool,
    /// Whether there are norms of heads.
    pub head_norms: bool,
    /// Which projections have biases.
    pub biases: Biases,
    /// Rows of the embedding, if there is one.
    pub vocabulary: Option<usize>,
    /// Divisors of the rotary frequencies: of short contexts, and of long ones if they differ.
    pub rope_factors: Option<[Vec<f64>; 2]>,
}

impl GgufFacts {
    /// Those of a ternary model of the shape of BitNet b1.58 2B-4T.
    pub fn bitnet(quantization: Quantization) -> Self {
        Self {
            has_output: false,
            quantization,
            inputs: InputPrecision::Int8,
            sub_norms: true,
            post_norms: false,
            projection_norms: false,
            head_norms: false,
            biases: Biases::default(),
            vocabulary: None,
            rope_factors: None,
        }
    }
}

impl DecoderConfig {
    /// Reads the metadata of a GGUF file, and what only its tensors tell.
    ///
    /// # Errors
    /// [`ConfigError`], as [`from_hf_json`](Self::from_hf_json).
    pub fn from_gguf(metadata: &Metadata, facts: GgufFacts) -> Result<Self, ConfigError> {
        let keys = Keys {
            metadata,
            architecture: metadata.architecture(),
        };
        let family = Family::of_gguf(keys.architecture).ok_or_else(|| ConfigError::ModelType {
            found: keys.architecture.to_string(),
            expected: Family::ALL.map(|f| f.facts().gguf.join(", ")).join(", "),
        })?;
        keys.refuse_unsupported(family.facts().slides)?;
        let defaults = &family.facts().defaults;
        let hidden_act = match keys.text("hidden_activation")? {
            Some(name) => activation(&keys.key("hidden_activation"), name)?,
            None => defaults.hidden_act,
        };
        let hidden_size = keys.size("embedding_length")?;
        let heads = keys.size("attention.head_count")?;
        let head_dim = match keys.optional_size("attention.key_length")? {
            Some(head_dim) => head_dim,
            None => share_of_heads(hidden_size, heads)?,
        };
        let values = keys.optional_size("attention.value_length")?;
        if let Some(values) = values.filter(|&values| values != head_dim) {
            return Err(ConfigError::Unsupported {
                field: "attention.value_length",
                found: values.to_string(),
                reason: "values are as wide as keys here",
            });
        }
        let rotated = keys.optional_size("rope.dimension_count")?;
        let positions = keys.size("context_length")?;
        let tokens = metadata
            .get("tokenizer.ggml.tokens")
            .and_then(Value::as_array);
        let vocab_size = match (keys.optional_size("vocab_size")?, facts.vocabulary, tokens) {
            (Some(size), ..) | (None, Some(size), _) => size,
            (None, None, Some(tokens)) => tokens.len(),
            (None, None, None) => keys.required("vocab_size", None)?,
        };
        let id = |name: &str| -> Result<Option<u32>, ConfigError> {
            let key = format!("tokenizer.ggml.{name}_token_id");
            let Some(value) = metadata.get(&key) else {
                return Ok(None);
            };
            // Some writers have -1, or the largest number, for none.
            if matches!(
                value,
                Value::I32(-1) | Value::I64(-1) | Value::U32(u32::MAX)
            ) {
                return Ok(None);
            }
            let id = value.as_u64().and_then(|id| id.try_into().ok());
            id.map(Some).ok_or_else(|| ConfigError::Value {
                field: key,
                found: format!("{value:?}"),
                expected: "the id of a token",
            })
        };
        let rope_theta = keys.float("rope.freq_base")?.unwrap_or_else(|| {
            tracing::warn!(
                "{} is absent: 10000 is taken, as GGUF defines it; published BitNet models have 500000",
                keys.key("rope.freq_base")
            );
            10_000.0
        });
        let rms_norm_eps = keys
            .float("attention.layer_norm_rms_epsilon")?
            .unwrap_or(1e-5);
        let mut config = Self {
            family,
            vocab_size,
            hidden_size,
            intermediate_size: keys.size("feed_forward_length")?,
            num_hidden_layers: keys.size("block_count")?,
            num_attention_heads: heads,
            num_key_value_heads: keys
                .optional_size("attention.head_count_kv")?
                .unwrap_or(heads),
            head_dim,
            max_position_embeddings: positions,
            hidden_act,
            sub_norms: facts.sub_norms,
            post_norms: facts.post_norms,
            head_norms: facts.head_norms,
            // A file has one epsilon.
            projection_norm_eps: facts.projection_norms.then_some(rms_norm_eps),
            biases: facts.biases,
            rms_norm_eps,
            rope_theta,
            rope_scaling: keys.rope_scaling(positions, facts.rope_factors)?,
            sliding: None,
            partial_rotary_factor: match rotated {
                Some(rotated) => share(rotated, head_dim),
                None => 1.0,
            },
            multipliers: Multipliers::default(),
            tie_word_embeddings: !facts.has_output,
            initializer_range: 0.02,
            bos_token_id: id("bos")?,
            eos_token_ids: {
                let end = id("eos")?;
                let end_of_turn = id("eot")?.filter(|&turn| Some(turn) != end);
                end.into_iter().chain(end_of_turn).collect()
            },
            pad_token_id: id("padding")?,
            quantization: facts.quantization,
            inputs: match metadata.get(INPUTS).map(|value| (value.as_str(), value)) {
                Some((Some(INT8), _)) => InputPrecision::Int8,
                Some((Some(FLOAT), _)) => InputPrecision::Float,
                Some((_, other)) => {
                    return Err(ConfigError::Value {
                        field: INPUTS.to_string(),
                        found: format!("{other:?}"),
                        expected: "int8 or float",
                    });
                }
                None => facts.inputs,
            },
        };
        (family.facts().read_gguf)(&keys, &mut config)?;
        config.validate()?;
        Ok(config)
    }
}

/// The factor that makes `part` of `whole` when it is multiplied and cut to a whole number.
fn share(part: usize, whole: usize) -> f64 {
    let factor = part as f64 / whole.max(1) as f64;
    match ((whole as f64 * factor) as usize) < part {
        true => factor.next_up(),
        false => factor,
    }
}
