//! Keys of GGUF metadata, read by name and type.

use tritburn_formats::file::gguf::{Array, Metadata, Value};

use crate::config::rope::{longrope_attention, yarn_attention};
use crate::config::{ConfigError, RopeScaling};

/// Every key that is read, without the name of the architecture.
pub(crate) const KEYS: [&str; 30] = [
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
    "attention.sliding_window_pattern",
    "rope.freq_base_swa",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "attention.scale",
];

/// Says that weights were transformed and inputs must be too.
const TRANSFORMED: &str = "prism.hadamard.";

/// Metadata under the prefix of the architecture.
pub(crate) struct Keys<'a> {
    pub(super) metadata: &'a Metadata,
    pub(super) architecture: &'a str,
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

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.metadata.get(&self.key(name))
    }

    /// A text.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, ConfigError> {
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
    /// Families with sliding layers read those, and the scale of their scores.
    pub(super) fn refuse_unsupported(&self, slides: bool) -> Result<(), ConfigError> {
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
        for (field, read) in [
            ("expert_count", false),
            ("attention.sliding_window", slides),
            ("attn_logit_softcapping", false),
            ("final_logit_softcapping", false),
            ("attention.scale", slides),
        ] {
            let value = self.get(field).map(|value| match value.as_u64() {
                Some(whole) => whole as f64,
                None => self.float(field).ok().flatten().unwrap_or(f64::NAN),
            });
            if let Some(found) = value.filter(|&value| value != 0.0 && !read) {
                return Err(ConfigError::Unsupported {
                    field,
                    found: found.to_string(),
                    reason: "decoders here have no experts and no capped logits, and sliding windows \
                             in Gemma 3 only",
                });
            }
        }
        Ok(())
    }

    /// llama.cpp's converter writes `linear` with a factor of 1 for a model that is not scaled.
    /// Without a type, or by the older key, a factor scales too; 0 is none. Divisors stand in
    /// tensors: all 1 is none.
    pub(super) fn rope_scaling(
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

    pub(super) fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, ConfigError> {
        value.ok_or_else(|| ConfigError::Missing {
            field: self.key(name),
        })
    }

    /// A whole number, or a list of one and the same for every layer.
    pub(crate) fn optional_size(&self, name: &str) -> Result<Option<usize>, ConfigError> {
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

    pub(super) fn size(&self, name: &str) -> Result<usize, ConfigError> {
        self.required(name, self.optional_size(name)?)
    }

    /// A number.
    pub(crate) fn float(&self, name: &str) -> Result<Option<f64>, ConfigError> {
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

/// The value of a list that has one and the same everywhere.
fn only(list: &Array) -> Option<u64> {
    let values = list.to_integers()?;
    let first = *values.first()?;
    let same = values.iter().all(|&value| value == first);
    u64::try_from(first).ok().filter(|_| same)
}
