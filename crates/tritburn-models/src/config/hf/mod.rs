//! `config.json` of Hugging Face transformers, for every [`Family`].

mod affine;
mod fields;
mod quantization;
mod rope;
mod write;

use serde::Deserialize;
use serde_json::Value;
use tritburn::InputPrecision;

pub(crate) use fields::Fields;

use super::{
    Biases, ConfigError, DecoderConfig, Family, GatedActivation, Multipliers, Quantization,
};
use quantization::{HfQuantization, Resolved};
use rope::Rope;

/// Quantisation method of tritburn's own folders.
const TRITBURN: &str = "tritburn";

/// Fields that mean another computation wherever they are set: not read, so refused.
const REFUSED: [&str; 17] = [
    "num_experts",
    "num_local_experts",
    "n_routed_experts",
    "moe_intermediate_size",
    "sliding_window",
    "use_sliding_window",
    "use_bidirectional_attention",
    "qk_rms_clip",
    "use_qk_norm",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "attention_multiplier",
    "residual_multiplier",
    "embedding_multiplier",
    "logits_scaling",
    "linear_attention",
    "prism",
];

impl DecoderConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// [`ConfigError`] for other architectures, for sizes that do not fit each other, and for
    /// features that would change the result and are not supported: experts, sliding windows,
    /// unknown rotary scaling, projections kept in float.
    pub fn from_hf_json(text: &str) -> Result<Self, ConfigError> {
        Self::from_hf_value(serde_json::from_str(text)?, false)
    }

    /// [`from_hf_json`](Self::from_hf_json) of JSON that has been read; `norms` says that the weights
    /// have norms of projections, where the configuration is silent.
    pub(crate) fn from_hf_value(config: Value, norms: bool) -> Result<Self, ConfigError> {
        let Value::Object(all) = &config else {
            return Err(ConfigError::Value {
                field: "config.json".to_string(),
                found: config.to_string().chars().take(40).collect(),
                expected: "an object",
            });
        };
        let fields = Fields::new(all.clone());
        let config: HfConfig =
            serde_path_to_error::deserialize(config).map_err(|error| ConfigError::Field {
                field: error.path().to_string(),
                reason: error.into_inner().to_string(),
            })?;
        config.resolve(&fields, norms)
    }
}

#[derive(Deserialize)]
struct HfConfig {
    model_type: Option<String>,
    architectures: Option<Vec<String>>,
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    hidden_act: Option<String>,
    use_sub_norms: Option<bool>,
    max_position_embeddings: Option<usize>,
    original_max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_parameters: Option<Rope>,
    rope_scaling: Option<Rope>,
    partial_rotary_factor: Option<f64>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    tie_word_embeddings: Option<bool>,
    initializer_range: Option<f64>,
    bos_token_id: Option<Ids>,
    eos_token_id: Option<Ids>,
    pad_token_id: Option<Ids>,
    projection_norm_eps: Option<f64>,
    quantization_config: Option<HfQuantization>,
}

/// Every field that is read, by this module or a family.
pub(crate) const FIELDS: [&str; 41] = [
    "model_type",
    "architectures",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "use_sub_norms",
    "max_position_embeddings",
    "original_max_position_embeddings",
    "rms_norm_eps",
    "rope_theta",
    "rope_parameters",
    "rope_scaling",
    "partial_rotary_factor",
    "attention_bias",
    "mlp_bias",
    "tie_word_embeddings",
    "initializer_range",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "projection_norm_eps",
    "quantization_config",
    "layer_types",
    "use_sliding_window",
    "sliding_window",
    "sliding_window_pattern",
    "rope_local_base_freq",
    "query_pre_attn_scalar",
    "hidden_activation",
    "weight_bits",
    "input_bits",
    "scale_emb",
    "scale_depth",
    "dim_model_base",
    "torch_dtype",
    "dtype",
];

/// One id or several. Some configurations write -1 for "none".
#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    One(i64),
    Many(Vec<i64>),
}

impl Ids {
    fn all(self, field: &str) -> Result<Vec<u32>, ConfigError> {
        let ids = match self {
            Self::One(id) => vec![id],
            Self::Many(ids) => ids,
        };
        let named = ids.into_iter().filter(|&id| id != -1);
        let id = |id: i64| {
            id.try_into().map_err(|_| ConfigError::Value {
                field: field.to_string(),
                found: id.to_string(),
                expected: "the id of a token, or -1 for none",
            })
        };
        named.map(id).collect()
    }
}

/// The first id of a field.
fn first(field: &str, ids: Option<Ids>) -> Result<Option<u32>, ConfigError> {
    let ids = ids.map(|ids| ids.all(field)).transpose()?;
    Ok(ids.unwrap_or_default().first().copied())
}

impl HfConfig {
    fn resolve(self, fields: &Fields, norms: bool) -> Result<DecoderConfig, ConfigError> {
        let classes = self.architectures.as_deref().unwrap_or_default();
        let model_type = self.model_type.as_deref().unwrap_or_default();
        let family = Family::of_hf(model_type, classes).ok_or_else(|| ConfigError::ModelType {
            found: model_type.to_string(),
            expected: Family::names(),
        })?;
        let (facts, defaults) = (family.facts(), &family.facts().defaults);
        self.refuse_unsupported(fields, facts.slides)?;
        let hidden_size = required("hidden_size", self.hidden_size)?;
        let heads = required("num_attention_heads", self.num_attention_heads)?;
        let positions = required("max_position_embeddings", self.max_position_embeddings)?;
        let hidden_act = match self.hidden_act.as_deref() {
            None => defaults.hidden_act,
            Some(name) => activation("hidden_act", name)?,
        };
        let ropes = [&self.rope_parameters, &self.rope_scaling];
        let ropes = || {
            ropes
                .into_iter()
                .flatten()
                .map(|rope| rope.of_full_layers(facts.slides))
        };
        let theta = ropes().find_map(|rope| rope.rope_theta);
        let partial = ropes().find_map(|rope| rope.partial_rotary_factor);
        let rope_scaling =
            Rope::scaling(ropes(), self.original_max_position_embeddings, positions)?;
        let resolved = match self.quantization_config {
            Some(section) => section.resolve(norms)?,
            None => Resolved {
                quantization: Quantization::Dense,
                inputs: InputPrecision::Int8,
                projection_norm_eps: norms.then_some(
                    self.projection_norm_eps
                        .unwrap_or(quantization::DEFAULT_NORM_EPS),
                ),
            },
        };
        let attention_bias = self.attention_bias;
        let mut config = DecoderConfig {
            family,
            vocab_size: required("vocab_size", self.vocab_size)?,
            hidden_size,
            intermediate_size: required("intermediate_size", self.intermediate_size)?,
            num_hidden_layers: required("num_hidden_layers", self.num_hidden_layers)?,
            num_attention_heads: heads,
            num_key_value_heads: self.num_key_value_heads.unwrap_or(heads),
            head_dim: match self.head_dim.or(defaults.head_dim) {
                Some(head_dim) => head_dim,
                None => share_of_heads(hidden_size, heads)?,
            },
            max_position_embeddings: positions,
            hidden_act,
            sub_norms: self.use_sub_norms.unwrap_or(defaults.sub_norms),
            post_norms: defaults.post_norms,
            head_norms: defaults.head_norms,
            projection_norm_eps: resolved.projection_norm_eps,
            biases: Biases {
                // Qwen2 has biases of q, k and v and no field for them.
                qkv: attention_bias.unwrap_or(defaults.qkv_bias) || defaults.qkv_bias,
                output: attention_bias.unwrap_or(false) && !defaults.qkv_bias,
                ffn: self.mlp_bias.unwrap_or(false),
            },
            rms_norm_eps: self.rms_norm_eps.unwrap_or(defaults.rms_norm_eps),
            rope_theta: theta.or(self.rope_theta).unwrap_or(defaults.rope_theta),
            rope_scaling,
            sliding: None,
            partial_rotary_factor: partial.or(self.partial_rotary_factor).unwrap_or(1.0),
            multipliers: Multipliers::default(),
            tie_word_embeddings: self.tie_word_embeddings.unwrap_or(defaults.tied),
            initializer_range: self.initializer_range.unwrap_or(0.02),
            bos_token_id: first("bos_token_id", self.bos_token_id)?,
            eos_token_ids: match self.eos_token_id {
                None => Vec::new(),
                Some(ids) => ids.all("eos_token_id")?,
            },
            pad_token_id: first("pad_token_id", self.pad_token_id)?,
            quantization: resolved.quantization,
            inputs: resolved.inputs,
        };
        (facts.read)(fields, &mut config)?;
        config.validate()?;
        Ok(config)
    }

    /// Refuses by name what would be computed wrongly if it were ignored.
    /// Families with sliding layers read those themselves.
    fn refuse_unsupported(&self, fields: &Fields, slides: bool) -> Result<(), ConfigError> {
        // A window that is switched off is none.
        let off = fields.flag("use_sliding_window").ok().flatten() == Some(false);
        for field in REFUSED {
            let Some(value) = fields.get(field) else {
                continue;
            };
            let inert = match value {
                Value::Bool(set) => !set,
                Value::Number(number) => matches!(number.as_f64(), Some(0.0 | 1.0)),
                _ => false,
            };
            // A window of the whole context hides nothing.
            let whole = field == "sliding_window"
                && (off || value.as_u64() >= self.max_position_embeddings.map(|n| n as u64));
            let read = slides && field == "sliding_window";
            if !inert && !whole && !read {
                return Err(ConfigError::Unsupported {
                    field,
                    found: value.to_string(),
                    reason: "decoders here have no experts, no factors but MiniCPM's, and sliding \
                             windows in Gemma 3 only",
                });
            }
        }
        let layers = fields.get("layer_types").and_then(Value::as_array);
        let full = |kind: &&Value| kind.as_str() != Some("full_attention");
        let sliding = layers.and_then(|kinds| kinds.iter().find(full));
        if let Some(kind) = sliding.filter(|_| !slides) {
            return Err(ConfigError::Unsupported {
                field: "layer_types",
                found: kind.to_string(),
                reason: "every layer has full attention here",
            });
        }
        Ok(())
    }
}

/// The gate of a name, as transformers and llama.cpp spell it.
pub(crate) fn activation(field: &str, name: &str) -> Result<GatedActivation, ConfigError> {
    match name {
        "relu2" | "relu_squared" | "relu_sqr" => Ok(GatedActivation::SquaredRelu),
        "silu" | "swish" => Ok(GatedActivation::Silu),
        "gelu" | "gelu_python" => Ok(GatedActivation::Gelu),
        "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" | "gelu_accurate" => {
            Ok(GatedActivation::GeluTanh)
        }
        found => Err(ConfigError::Value {
            field: field.to_string(),
            found: found.to_string(),
            expected: "relu2, silu, gelu or gelu_pytorch_tanh",
        }),
    }
}

/// What both of them read.
pub(super) fn activation_name(activation: GatedActivation) -> &'static str {
    match activation {
        GatedActivation::SquaredRelu => "relu2",
        GatedActivation::Silu => "silu",
        GatedActivation::Gelu => "gelu",
        GatedActivation::GeluTanh => "gelu_pytorch_tanh",
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
