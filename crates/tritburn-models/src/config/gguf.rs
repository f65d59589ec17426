//! Configurations in GGUF metadata, both ways, for every [`Family`].

use tritburn::InputPrecision;
use tritburn_formats::file::gguf::{Array, Metadata, Value};

use super::hf::{activation, share_of_heads};
use super::rope::{longrope_attention, yarn_attention};
use super::{
    Biases, ConfigError, DecoderConfig, Family, GatedActivation, Multipliers, Quantization,
    RopeScaling,
};

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

/// Every key that is read, without the name of the architecture.
pub(crate) const KEYS: [&str; 28] = [
    "hidden_activation",
    "embedding_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.attn_factor",
    "rope.scaling.original_context_length",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "context_length",
    "vocab_size",
    "feed_forward_length",
    "block_count",
    "embedding_scale",
    "residual_scale",
    "logit_scale",
    "expert_count",
    "attention.sliding_window",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "attention.scale",
];

/// Says that weights were transformed and inputs must be too.
const TRANSFORMED: &str = "prism.hadamard.";

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
        keys.refuse_unsupported()?;
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
            head_norms: facts.head_norms,
            projection_norm_eps: None,
            biases: facts.biases,
            rms_norm_eps: keys
                .float("attention.layer_norm_rms_epsilon")?
                .unwrap_or(1e-5),
            rope_theta,
            rope_scaling: keys.rope_scaling(positions, facts.rope_factors)?,
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

    /// Adds the sizes and constants to the metadata of a GGUF file, under the keys of
    /// `architecture`, one of the family's names. Ids of special tokens go with the tokenizer; those
    /// that it does not name are added here.
    ///
    /// # Errors
    /// [`ConfigError::Unsupported`] for what GGUF has no keys for.
    pub fn write_gguf(
        &self,
        architecture: &str,
        metadata: &mut Metadata,
    ) -> Result<(), ConfigError> {
        let name = architecture;
        metadata.set("general.architecture", Value::String(name.to_string()));
        let mut sizes = vec![
            ("vocab_size", self.vocab_size),
            ("context_length", self.max_position_embeddings),
            ("embedding_length", self.hidden_size),
            ("block_count", self.num_hidden_layers),
            ("feed_forward_length", self.intermediate_size),
            ("rope.dimension_count", self.rotary_dim()),
            ("attention.head_count", self.num_attention_heads),
            ("attention.head_count_kv", self.num_key_value_heads),
            ("attention.key_length", self.head_dim),
            ("attention.value_length", self.head_dim),
        ];
        let mut floats = vec![
            ("attention.layer_norm_rms_epsilon", self.rms_norm_eps),
            ("rope.freq_base", self.rope_theta),
        ];
        match &self.rope_scaling {
            RopeScaling::None => {}
            RopeScaling::Linear { factor } => floats.push(("rope.scaling.factor", *factor)),
            RopeScaling::Yarn {
                factor,
                beta_fast,
                beta_slow,
                original_positions,
                attention_factor,
                truncate: true,
            } => {
                floats.extend([
                    ("rope.scaling.factor", *factor),
                    ("rope.scaling.yarn_beta_fast", *beta_fast),
                    ("rope.scaling.yarn_beta_slow", *beta_slow),
                    // llama.cpp multiplies its own factor by it.
                    (
                        "rope.scaling.attn_factor",
                        attention_factor / yarn_attention(*factor, 1.0),
                    ),
                ]);
                sizes.push(("rope.scaling.original_context_length", *original_positions));
            }
            // Their divisors are tensors.
            RopeScaling::Llama3 { .. } | RopeScaling::Factors { .. } => {}
            RopeScaling::LongRope {
                original_positions,
                attention_factor,
                ..
            } => {
                floats.push(("rope.scaling.attn_factor", *attention_factor));
                sizes.push(("rope.scaling.original_context_length", *original_positions));
            }
            other @ RopeScaling::Yarn { .. } => {
                return Err(ConfigError::Unsupported {
                    field: "rope_scaling",
                    found: other.name().to_string(),
                    reason: "GGUF has whole numbers for the bounds of its ramp",
                });
            }
        }
        let named = matches!(
            self.rope_scaling,
            RopeScaling::Linear { .. } | RopeScaling::Yarn { .. } | RopeScaling::LongRope { .. }
        );
        if named {
            let kind = Value::String(self.rope_scaling.name().to_string());
            metadata.set(format!("{name}.rope.scaling.type"), kind);
        }
        floats.extend((self.family.facts().write_gguf)(self));
        for (key, value) in sizes {
            // Validated sizes are under 2³¹.
            metadata.set(format!("{name}.{key}"), Value::U32(value as u32));
        }
        for (key, value) in floats {
            metadata.set(format!("{name}.{key}"), Value::F32(value as f32));
        }
        let act = match self.hidden_act {
            GatedActivation::SquaredRelu => "relu2",
            GatedActivation::Silu => "silu",
        };
        let act = Value::String(act.to_string());
        metadata.set(format!("{name}.hidden_activation"), act);
        let inputs = match self.inputs {
            InputPrecision::Float => FLOAT,
            _ => INT8,
        };
        metadata.set(INPUTS, Value::String(inputs.to_string()));
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
        Ok(())
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

/// The value of a list that has one and the same everywhere.
fn only(list: &Array) -> Option<u64> {
    let values = list.to_integers()?;
    let first = *values.first()?;
    let same = values.iter().all(|&value| value == first);
    u64::try_from(first).ok().filter(|_| same)
}

/// Metadata under the prefix of the architecture.
pub(crate) struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
}

impl Keys<'_> {
    /// `general.architecture`.
    pub fn architecture(&self) -> &str {
        self.architecture
    }

    /// The whole name of a key.
    pub fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    /// Whether a key is there.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A number that has no default.
    pub fn required_float(&self, name: &str) -> Result<f64, ConfigError> {
        self.required(name, self.float(name)?)
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.metadata.get(&self.key(name))
    }

    /// A text.
    fn text(&self, name: &str) -> Result<Option<&str>, ConfigError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        value.as_str().map(Some).ok_or_else(|| ConfigError::Value {
            field: self.key(name),
            found: format!("{value:?}"),
            expected: "a text",
        })
    }

    /// Refuses by name what would be computed wrongly if it were ignored.
    fn refuse_unsupported(&self) -> Result<(), ConfigError> {
        let transformed = self
            .metadata
            .iter()
            .find(|(key, _)| key.starts_with(TRANSFORMED));
        if let Some((key, _)) = transformed {
            return Err(ConfigError::Unsupported {
                field: "prism.hadamard",
                found: key.to_string(),
                reason: "weights that expect Hadamard-transformed inputs do not run here",
            });
        }
        for (field, inert) in [
            ("expert_count", 0.0),
            ("attention.sliding_window", 0.0),
            ("attn_logit_softcapping", 0.0),
            ("final_logit_softcapping", 0.0),
            ("attention.scale", 0.0),
        ] {
            let value = self.get(field).map(|value| match value.as_u64() {
                Some(whole) => whole as f64,
                None => self.float(field).ok().flatten().unwrap_or(f64::NAN),
            });
            if let Some(found) = value.filter(|&value| value != inert) {
                return Err(ConfigError::Unsupported {
                    field,
                    found: found.to_string(),
                    reason: "decoders here have no experts, sliding windows or capped logits",
                });
            }
        }
        Ok(())
    }

    /// llama.cpp's converter writes `linear` with a factor of 1 for a model that is not scaled.
    /// Without a type, or by the older key, a factor scales too; 0 is none. Divisors stand in
    /// tensors: all 1 is none.
    fn rope_scaling(
        &self,
        positions: usize,
        divisors: Option<[Vec<f64>; 2]>,
    ) -> Result<RopeScaling, ConfigError> {
        let kind = self.text("rope.scaling.type")?;
        let factor = match self.float("rope.scaling.factor")? {
            None => self.float("rope.scale_linear")?,
            factor => factor,
        };
        let factor = factor.filter(|&factor| factor != 0.0);
        let original = self.optional_size("rope.scaling.original_context_length")?;
        let attention = self.float("rope.scaling.attn_factor")?.unwrap_or(1.0);
        let divisors = divisors.filter(|sets| sets.iter().flatten().any(|&d| d != 1.0));
        if let Some([short, long]) = divisors {
            let same = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan());
            let equal = short.len() == long.len() && short.iter().zip(&long).all(same);
            return Ok(match equal {
                true => RopeScaling::Factors { factors: short },
                false => {
                    let original =
                        self.required("rope.scaling.original_context_length", original)?;
                    let original = original.max(2);
                    let natural = longrope_attention(positions as f64 / original as f64, original);
                    let stored = self.float("rope.scaling.attn_factor")?;
                    RopeScaling::LongRope {
                        short,
                        long,
                        original_positions: original,
                        attention_factor: stored.unwrap_or(natural),
                    }
                }
            });
        }
        match (kind, factor.unwrap_or(1.0)) {
            (Some("none"), _) | (None | Some("linear" | "longrope"), 1.0) => Ok(RopeScaling::None),
            (None | Some("linear"), factor) => Ok(RopeScaling::Linear { factor }),
            (Some("yarn"), factor) => Ok(RopeScaling::Yarn {
                factor,
                beta_fast: self.float("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                beta_slow: self.float("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
                original_positions: original.unwrap_or(positions),
                attention_factor: attention * yarn_attention(factor, 1.0),
                truncate: true,
            }),
            (Some(kind), factor) => Err(ConfigError::Unsupported {
                field: "rope.scaling",
                found: format!("{kind} by {factor}"),
                reason: "rotary scaling is none, linear, yarn or longrope here",
            }),
        }
    }

    fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, ConfigError> {
        value.ok_or_else(|| ConfigError::Missing {
            field: self.key(name),
        })
    }

    /// A whole number, or a list of one and the same for every layer.
    fn optional_size(&self, name: &str) -> Result<Option<usize>, ConfigError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let size = value.as_array().map_or_else(|| value.as_u64(), only);
        let size = size.and_then(|size| usize::try_from(size).ok());
        size.map(Some).ok_or_else(|| ConfigError::Value {
            field: self.key(name),
            found: format!("{value:?}"),
            expected: "one whole number, the same for every layer",
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
