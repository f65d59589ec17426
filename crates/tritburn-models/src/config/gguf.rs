//! Configurations in GGUF metadata, both ways.
//!
//! Two families name the same tensors. `bitnet-b1.58` (and its older name `bitnet-25`) is that of
//! microsoft/BitNet and always has squared ReLU. `bitnet` is llama.cpp's, whose feed-forward is
//! SiLU unless `hidden_activation` says otherwise. Neither reorders the rows of q and k: rotary
//! pairs are half a head apart in both.

use tritburn_formats::file::gguf::{Metadata, Value};

use super::hf::share_of_heads;
use super::{ConfigError, DecoderConfig, Quantization};

/// Which programs a GGUF file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GgufArchitecture {
    /// `bitnet-b1.58`: microsoft/BitNet.
    BitNetCpp,
    /// `bitnet`: llama.cpp.
    LlamaCpp,
}

impl GgufArchitecture {
    /// `general.architecture`, also the prefix of the keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::BitNetCpp => "bitnet-b1.58",
            Self::LlamaCpp => "bitnet",
        }
    }
}

const RELU2: &str = "relu2";

impl DecoderConfig {
    /// Reads the metadata of a GGUF file. What only tensors tell is passed in: `has_output` says
    /// whether there is an output head of its own, `quantization` how projections are stored.
    ///
    /// # Errors
    /// [`ConfigError`], as [`from_hf_json`](Self::from_hf_json).
    pub fn from_gguf(
        metadata: &Metadata,
        has_output: bool,
        quantization: Quantization,
    ) -> Result<Self, ConfigError> {
        let keys = Keys {
            metadata,
            architecture: metadata.architecture(),
        };
        let absent = match keys.architecture {
            "bitnet-b1.58" | "bitnet-25" => RELU2,
            "bitnet" => "absent, which llama.cpp takes for silu",
            other => {
                return Err(ConfigError::ModelType {
                    found: other.to_string(),
                    expected: "bitnet-b1.58",
                });
            }
        };
        let act = keys.get("hidden_activation").and_then(Value::as_str);
        let act = act.unwrap_or(absent);
        if act != RELU2 {
            return Err(ConfigError::Value {
                field: keys.key("hidden_activation"),
                found: act.to_string(),
                expected: "relu2, the squared ReLU of BitNet b1.58",
            });
        }
        keys.refuse_scaled_rope()?;
        let hidden_size = keys.size("embedding_length")?;
        let heads = keys.size("attention.head_count")?;
        let head_dim = match keys.optional_size("attention.key_length")? {
            Some(head_dim) => head_dim,
            None => share_of_heads(hidden_size, heads)?,
        };
        let rotated = keys.optional_size("rope.dimension_count")?;
        if let Some(rotated) = rotated.filter(|&rotated| rotated != head_dim) {
            return Err(ConfigError::Unsupported {
                field: "rope.dimension_count",
                found: rotated.to_string(),
                reason: "whole heads are rotated",
            });
        }
        let tokens = metadata
            .get("tokenizer.ggml.tokens")
            .and_then(Value::as_array);
        let vocab_size = match (keys.optional_size("vocab_size")?, tokens) {
            (None, Some(tokens)) => tokens.len(),
            (size, _) => keys.required("vocab_size", size)?,
        };
        let id = |name: &str| {
            let value = metadata.get(&format!("tokenizer.ggml.{name}_token_id"))?;
            value.as_u64()?.try_into().ok()
        };
        let config = Self {
            vocab_size,
            hidden_size,
            intermediate_size: keys.size("feed_forward_length")?,
            num_hidden_layers: keys.size("block_count")?,
            num_attention_heads: heads,
            num_key_value_heads: keys
                .optional_size("attention.head_count_kv")?
                .unwrap_or(heads),
            head_dim,
            max_position_embeddings: keys.size("context_length")?,
            rms_norm_eps: keys
                .float("attention.layer_norm_rms_epsilon")?
                .unwrap_or(1e-5),
            rope_theta: keys.float("rope.freq_base")?.unwrap_or(10_000.0),
            tie_word_embeddings: !has_output,
            initializer_range: 0.02,
            bos_token_id: id("bos"),
            eos_token_ids: {
                let end_of_turn = id("eot").filter(|&turn| Some(turn) != id("eos"));
                id("eos").into_iter().chain(end_of_turn).collect()
            },
            pad_token_id: id("padding"),
            quantization,
        };
        config.validate()?;
        Ok(config)
    }

    /// Adds the sizes and constants to the metadata of a GGUF file. Ids of special tokens go with
    /// the tokenizer; those that it does not name are added here.
    pub fn write_gguf(&self, architecture: GgufArchitecture, metadata: &mut Metadata) {
        let name = architecture.name();
        metadata.set("general.architecture", Value::String(name.to_string()));
        for (key, value) in [
            ("vocab_size", self.vocab_size),
            ("context_length", self.max_position_embeddings),
            ("embedding_length", self.hidden_size),
            ("block_count", self.num_hidden_layers),
            ("feed_forward_length", self.intermediate_size),
            ("rope.dimension_count", self.head_dim),
            ("attention.head_count", self.num_attention_heads),
            ("attention.head_count_kv", self.num_key_value_heads),
            ("attention.key_length", self.head_dim),
            ("attention.value_length", self.head_dim),
        ] {
            // Validated sizes are under 2³¹.
            metadata.set(format!("{name}.{key}"), Value::U32(value as u32));
        }
        for (key, value) in [
            ("attention.layer_norm_rms_epsilon", self.rms_norm_eps),
            ("rope.freq_base", self.rope_theta),
        ] {
            metadata.set(format!("{name}.{key}"), Value::F32(value as f32));
        }
        let act = Value::String(RELU2.to_string());
        metadata.set(format!("{name}.hidden_activation"), act);
        for (key, id) in [
            ("bos", self.bos_token_id),
            ("eos", self.eos_token_ids.first().copied()),
            ("padding", self.pad_token_id),
        ] {
            let key = format!("tokenizer.ggml.{key}_token_id");
            if let Some(id) = id.filter(|_| metadata.get(&key).is_none()) {
                metadata.set(key, Value::U32(id));
            }
        }
    }
}

/// Metadata under the prefix of the architecture.
struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.metadata.get(&self.key(name))
    }

    /// llama.cpp's converter writes `linear` with a factor of 1 for a model that is not scaled.
    /// Without a type, or by the older key, a factor scales too; 0 is none.
    fn refuse_scaled_rope(&self) -> Result<(), ConfigError> {
        let kind = self.get("rope.scaling.type").and_then(Value::as_str);
        let factor = match self.float("rope.scaling.factor")? {
            None => self.float("rope.scale_linear")?,
            factor => factor,
        };
        let factor = factor.filter(|&factor| factor != 0.0);
        match (kind, factor.unwrap_or(1.0)) {
            (Some("none"), _) | (None | Some("linear"), 1.0) => Ok(()),
            (kind, factor) => Err(ConfigError::Unsupported {
                field: "rope.scaling",
                found: format!("{} by {factor}", kind.unwrap_or("linear")),
                reason: "only unscaled rotary embeddings are supported",
            }),
        }
    }

    fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, ConfigError> {
        value.ok_or_else(|| ConfigError::Missing {
            field: self.key(name),
        })
    }

    fn optional_size(&self, name: &str) -> Result<Option<usize>, ConfigError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.map(Some).ok_or_else(|| ConfigError::Value {
            field: self.key(name),
            found: format!("{value:?}"),
            expected: "one whole number",
        })
    }

    fn size(&self, name: &str) -> Result<usize, ConfigError> {
        self.required(name, self.optional_size(name)?)
    }

    fn float(&self, name: &str) -> Result<Option<f64>, ConfigError> {
        match self.get(name) {
            None => Ok(None),
            // Its shortest decimal form is the number that was meant: 1e-5, not 9.9999997e-6.
            Some(Value::F32(value)) => Ok(value.to_string().parse().ok()),
            Some(Value::F64(value)) => Ok(Some(*value)),
            Some(other) => Err(ConfigError::Value {
                field: self.key(name),
                found: format!("{other:?}"),
                expected: "a number",
            }),
        }
    }
}
