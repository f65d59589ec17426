//! `config.json` of Hugging Face transformers: as `transformers/models/bitnet` writes it, with the
//! old top-level `rope_theta` or the new `rope_parameters`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{ConfigError, DecoderConfig, LinearClass, Quantization};

const MODEL_TYPE: &str = "bitnet";
/// Quantisation method of tritburn's own folders.
const TRITBURN: &str = "tritburn";
/// What transformers assumes where the field is absent.
const DEFAULT_ROPE_THETA: f64 = 500_000.0;

/// Modules that are never ternary here either, so that naming them changes nothing.
const FLOAT_MODULES: [&str; 6] = [
    "lm_head",
    "embed_tokens",
    "model.embed_tokens",
    "norm",
    "model.norm",
    "rotary_emb",
];

impl DecoderConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// [`ConfigError`] for other architectures, for sizes that do not fit each other, and for
    /// features that would change the result and are not supported: scaled rotary embeddings,
    /// attention biases, an activation other than squared ReLU, projections kept in float, a norm
    /// inside the linear layers.
    pub fn from_hf_json(text: &str) -> Result<Self, ConfigError> {
        serde_json::from_str::<HfConfig>(text)?.resolve()
    }

    /// The text of a `config.json` that transformers, and [`from_hf_json`](Self::from_hf_json),
    /// read. `dtype` is the name of the float type of embedding and norms, such as `bfloat16`.
    pub fn to_hf_json(&self, dtype: &str) -> String {
        render(&self.hf_json(dtype))
    }

    /// The text of the `config.json` of tritburn's own folders: the same, but for the method of
    /// quantisation, so that other programs see at once that they cannot read the weights.
    pub(crate) fn to_tritburn_json(&self, dtype: &str) -> String {
        let mut config = self.hf_json(dtype);
        config["quantization_config"] = json!({ "quant_method": TRITBURN });
        render(&config)
    }

    fn hf_json(&self, dtype: &str) -> Value {
        let eos = match self.eos_token_ids.as_slice() {
            [] => Value::Null,
            [id] => json!(id),
            ids => json!(ids),
        };
        let mut config = json!({
            "architectures": ["BitNetForCausalLM"],
            "model_type": MODEL_TYPE,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "hidden_act": "relu2",
            "max_position_embeddings": self.max_position_embeddings,
            "initializer_range": self.initializer_range,
            "rms_norm_eps": self.rms_norm_eps,
            // Both spellings: releases of transformers read one or the other.
            "rope_theta": self.rope_theta,
            "rope_parameters": { "rope_theta": self.rope_theta, "rope_type": "default" },
            "attention_bias": false,
            "attention_dropout": 0.0,
            "tie_word_embeddings": self.tie_word_embeddings,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": eos,
            "pad_token_id": self.pad_token_id,
            "use_cache": true,
            "torch_dtype": dtype,
        });
        if self.head_dim * self.num_attention_heads != self.hidden_size {
            config["head_dim"] = json!(self.head_dim);
        }
        let (linear_class, mode) = match self.quantization {
            Quantization::Dense => (None, ""),
            Quantization::Online => (Some("autobitlinear"), "online"),
            Quantization::Packed { linear_class } => (Some(linear_class.name()), "offline"),
        };
        if let Some(linear_class) = linear_class {
            config["quantization_config"] = json!({
                "quant_method": MODEL_TYPE,
                "linear_class": linear_class,
                "quantization_mode": mode,
                "modules_to_not_convert": null,
            });
        }
        config
    }
}

fn render(config: &Value) -> String {
    format!("{config:#}\n")
}

impl LinearClass {
    fn name(self) -> &'static str {
        match self {
            Self::BitLinear => "bitlinear",
            Self::AutoBitLinear => "autobitlinear",
        }
    }
}

#[derive(Deserialize)]
struct HfConfig {
    model_type: Option<String>,
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    hidden_act: Option<String>,
    max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_parameters: Option<Rope>,
    rope_scaling: Option<Rope>,
    partial_rotary_factor: Option<f64>,
    attention_bias: Option<bool>,
    tie_word_embeddings: Option<bool>,
    initializer_range: Option<f64>,
    bos_token_id: Option<u32>,
    eos_token_id: Option<OneOrMany>,
    pad_token_id: Option<i64>,
    quantization_config: Option<HfQuantization>,
}

#[derive(Deserialize)]
struct Rope {
    rope_theta: Option<f64>,
    #[serde(alias = "type")]
    rope_type: Option<String>,
    factor: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

#[derive(Deserialize)]
struct HfQuantization {
    quant_method: Option<String>,
    linear_class: Option<String>,
    quantization_mode: Option<String>,
    modules_to_not_convert: Option<Vec<String>>,
    use_rms_norm: Option<bool>,
}

impl HfConfig {
    fn resolve(self) -> Result<DecoderConfig, ConfigError> {
        match self.model_type.as_deref() {
            Some(MODEL_TYPE) => {}
            found => {
                return Err(ConfigError::ModelType {
                    found: found.unwrap_or_default().to_string(),
                    expected: MODEL_TYPE,
                });
            }
        }
        self.refuse_unsupported()?;
        let hidden_size = required("hidden_size", self.hidden_size)?;
        let heads = required("num_attention_heads", self.num_attention_heads)?;
        let rope = self.rope_parameters.as_ref().and_then(|r| r.rope_theta);
        let config = DecoderConfig {
            vocab_size: required("vocab_size", self.vocab_size)?,
            hidden_size,
            intermediate_size: required("intermediate_size", self.intermediate_size)?,
            num_hidden_layers: required("num_hidden_layers", self.num_hidden_layers)?,
            num_attention_heads: heads,
            num_key_value_heads: self.num_key_value_heads.unwrap_or(heads),
            head_dim: match self.head_dim {
                Some(head_dim) => head_dim,
                None => share_of_heads(hidden_size, heads)?,
            },
            max_position_embeddings: required(
                "max_position_embeddings",
                self.max_position_embeddings,
            )?,
            rms_norm_eps: self.rms_norm_eps.unwrap_or(1e-5),
            rope_theta: rope.or(self.rope_theta).unwrap_or(DEFAULT_ROPE_THETA),
            tie_word_embeddings: self.tie_word_embeddings.unwrap_or(false),
            initializer_range: self.initializer_range.unwrap_or(0.02),
            bos_token_id: self.bos_token_id,
            eos_token_ids: match self.eos_token_id {
                None => Vec::new(),
                Some(OneOrMany::One(id)) => vec![id],
                Some(OneOrMany::Many(ids)) => ids,
            },
            // Some configurations write -1 for "none".
            pad_token_id: self.pad_token_id.and_then(|id| id.try_into().ok()),
            quantization: match self.quantization_config {
                None => Quantization::Dense,
                Some(quantization) => quantization.resolve()?,
            },
        };
        config.validate()?;
        Ok(config)
    }

    fn refuse_unsupported(&self) -> Result<(), ConfigError> {
        let act = self.hidden_act.as_deref().unwrap_or("relu2");
        if act != "relu2" {
            return Err(ConfigError::Unsupported {
                field: "hidden_act",
                found: act.to_string(),
                reason: "BitNet b1.58 models use squared ReLU, relu2",
            });
        }
        if self.attention_bias == Some(true) {
            return Err(ConfigError::Unsupported {
                field: "attention_bias",
                found: "true".to_string(),
                reason: "projections have no bias here",
            });
        }
        for rope in [&self.rope_parameters, &self.rope_scaling]
            .into_iter()
            .flatten()
        {
            let factor = rope.factor.unwrap_or(1.0);
            match rope.rope_type.as_deref().unwrap_or("default") {
                "default" => {}
                "linear" if factor == 1.0 => {}
                kind => {
                    return Err(ConfigError::Unsupported {
                        field: "rope_type",
                        found: format!("{kind} by {factor}"),
                        reason: "only unscaled rotary embeddings are supported",
                    });
                }
            }
        }
        if let Some(factor) = self.partial_rotary_factor.filter(|&factor| factor != 1.0) {
            return Err(ConfigError::Unsupported {
                field: "partial_rotary_factor",
                found: factor.to_string(),
                reason: "whole heads are rotated",
            });
        }
        Ok(())
    }
}

impl HfQuantization {
    fn resolve(self) -> Result<Quantization, ConfigError> {
        let value = |field: &str, found: Option<String>, expected| ConfigError::Value {
            field: format!("quantization_config.{field}"),
            found: found.map_or("absent".to_string(), |found| format!("{found:?}")),
            expected,
        };
        if self.quant_method.as_deref() == Some(TRITBURN) {
            return Ok(Quantization::Packed {
                linear_class: LinearClass::AutoBitLinear,
            });
        }
        if self.quant_method.as_deref() != Some(MODEL_TYPE) {
            return Err(value("quant_method", self.quant_method, "\"bitnet\""));
        }
        if self.use_rms_norm == Some(true) {
            return Err(ConfigError::Unsupported {
                field: "quantization_config.use_rms_norm",
                found: "true".to_string(),
                reason: "a norm inside each linear layer is not supported",
            });
        }
        let kept = self.modules_to_not_convert.unwrap_or_default();
        if let Some(module) = kept.iter().find(|m| !FLOAT_MODULES.contains(&m.as_str())) {
            return Err(ConfigError::Unsupported {
                field: "quantization_config.modules_to_not_convert",
                found: format!("{module:?}"),
                reason: "every projection has to be ternary",
            });
        }
        let class = match self.linear_class.as_deref() {
            None | Some("bitlinear") => LinearClass::BitLinear,
            Some("autobitlinear") => LinearClass::AutoBitLinear,
            Some(_) => {
                let expected = "\"bitlinear\" or \"autobitlinear\"";
                return Err(value("linear_class", self.linear_class, expected));
            }
        };
        match (class, self.quantization_mode.as_deref()) {
            // transformers looks at the mode only for autobitlinear.
            (LinearClass::BitLinear, _) | (_, None | Some("offline")) => Ok(Quantization::Packed {
                linear_class: class,
            }),
            (LinearClass::AutoBitLinear, Some("online")) => Ok(Quantization::Online),
            _ => {
                let expected = "\"online\" or \"offline\"";
                Err(value("quantization_mode", self.quantization_mode, expected))
            }
        }
    }
}

fn required<T>(field: &str, value: Option<T>) -> Result<T, ConfigError> {
    value.ok_or_else(|| ConfigError::Missing {
        field: field.to_string(),
    })
}

/// Width of a head where the configuration does not say it.
pub(super) fn share_of_heads(hidden_size: usize, heads: usize) -> Result<usize, ConfigError> {
    if heads == 0 || !hidden_size.is_multiple_of(heads) {
        return Err(ConfigError::Divides {
            field: "hidden_size",
            value: hidden_size,
            divisor_field: "num_attention_heads",
            divisor: heads,
        });
    }
    Ok(hidden_size / heads)
}
