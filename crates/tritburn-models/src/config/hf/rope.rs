//! Rotary embeddings in a `config.json`: the old `rope_theta` and `rope_scaling`, or the new
//! `rope_parameters`, which has all in one.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::rope::{longrope_attention, yarn_attention};
use crate::config::{ConfigError, DecoderConfig, RopeScaling};

/// `rope_scaling` or `rope_parameters`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Rope {
    pub rope_theta: Option<f64>,
    rope_type: Option<String>,
    /// The old name of `rope_type`; some files have both.
    #[serde(rename = "type")]
    kind: Option<String>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    attention_factor: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    truncate: Option<bool>,
    short_factor: Option<Vec<f64>>,
    long_factor: Option<Vec<f64>>,
    pub partial_rotary_factor: Option<f64>,
    /// Newer releases may have a set for each kind of layer.
    full_attention: Option<Box<Rope>>,
    sliding_attention: Option<Value>,
}

impl Rope {
    /// The set of layers that see all positions, where `slides` says that a family has two kinds.
    pub fn of_full_layers(&self, slides: bool) -> &Self {
        self.full_attention
            .as_deref()
            .filter(|_| slides)
            .unwrap_or(self)
    }

    fn kind(&self) -> Option<&str> {
        self.rope_type.as_deref().or(self.kind.as_deref())
    }

    /// Whether frequencies are those of `rope_theta`.
    fn is_plain(&self) -> bool {
        let layers = self.full_attention.is_some() || self.sliding_attention.is_some();
        match (self.kind(), self.factor) {
            _ if layers => false,
            (Some("default"), _) | (None, None) => true,
            (None | Some("linear"), factor) => factor == Some(1.0),
            _ => false,
        }
    }

    /// The one of several that scales, or else nothing.
    pub fn scaling<'a>(
        ropes: impl IntoIterator<Item = &'a Self>,
        original: Option<usize>,
        positions: usize,
    ) -> Result<RopeScaling, ConfigError> {
        match ropes.into_iter().find(|rope| !rope.is_plain()) {
            None => Ok(RopeScaling::None),
            Some(rope) => rope.resolve(original, positions),
        }
    }

    fn resolve(
        &self,
        original: Option<usize>,
        positions: usize,
    ) -> Result<RopeScaling, ConfigError> {
        let required = |name: &str, value: Option<f64>| {
            value.ok_or_else(|| ConfigError::Missing {
                field: format!("rope_scaling.{name}"),
            })
        };
        let own = self.original_max_position_embeddings;
        let whole = |n: f64| match n.fract() == 0.0 && (2.0..1e15).contains(&n) {
            true => Ok(n as usize),
            false => Err(ConfigError::Value {
                field: "rope_scaling.original_max_position_embeddings".to_string(),
                found: n.to_string(),
                expected: "a whole number of positions",
            }),
        };
        let original_positions = own.map(whole).transpose()?.or(original);
        let required_original = || {
            original_positions.ok_or_else(|| ConfigError::Missing {
                field: "rope_scaling.original_max_position_embeddings".to_string(),
            })
        };
        if self.full_attention.is_some() || self.sliding_attention.is_some() {
            return Err(ConfigError::Unsupported {
                field: "rope_parameters",
                found: "a set for each kind of layer".to_string(),
                reason: "all layers rotate alike here",
            });
        }
        let kind = self.kind().ok_or_else(|| ConfigError::Missing {
            field: "rope_scaling.rope_type".to_string(),
        })?;
        Ok(match kind {
            "linear" => RopeScaling::Linear {
                factor: required("factor", self.factor)?,
            },
            "llama3" => RopeScaling::Llama3 {
                factor: required("factor", self.factor)?,
                low_frequency_factor: required("low_freq_factor", self.low_freq_factor)?,
                high_frequency_factor: required("high_freq_factor", self.high_freq_factor)?,
                original_positions: required_original()?,
            },
            "yarn" => {
                let factor = required("factor", self.factor)?;
                let of = |mscale| yarn_attention(factor, mscale);
                let natural = match (self.mscale, self.mscale_all_dim) {
                    (Some(mscale), Some(all)) if mscale != 0.0 && all != 0.0 => {
                        of(mscale) / of(all)
                    }
                    _ => of(1.0),
                };
                RopeScaling::Yarn {
                    factor,
                    beta_fast: self.beta_fast.unwrap_or(32.0),
                    beta_slow: self.beta_slow.unwrap_or(1.0),
                    original_positions: original_positions.unwrap_or(positions),
                    attention_factor: self.attention_factor.unwrap_or(natural),
                    truncate: self.truncate.unwrap_or(true),
                }
            }
            "longrope" | "su" => {
                let factors = |name: &str, factors: &Option<Vec<f64>>| {
                    factors.clone().ok_or_else(|| ConfigError::Missing {
                        field: format!("rope_scaling.{name}"),
                    })
                };
                // Without the original length, the stretch is named.
                let stretch = match original_positions {
                    Some(original) => positions as f64 / original as f64,
                    None => self.factor.unwrap_or(1.0),
                };
                let original_positions = original_positions.unwrap_or(positions);
                let natural = longrope_attention(stretch, original_positions);
                RopeScaling::LongRope {
                    short: factors("short_factor", &self.short_factor)?,
                    long: factors("long_factor", &self.long_factor)?,
                    original_positions,
                    attention_factor: self.attention_factor.unwrap_or(natural),
                }
            }
            kind => {
                return Err(ConfigError::Unsupported {
                    field: "rope_type",
                    found: format!("{kind} by {}", self.factor.unwrap_or(1.0)),
                    reason: "rotary scaling is default, linear, llama3, yarn or longrope here",
                });
            }
        })
    }
}

/// Both spellings, since releases of transformers read one or the other: `rope_parameters`, and
/// `rope_scaling` where frequencies are scaled.
pub(super) fn to_json(config: &DecoderConfig) -> (Value, Option<Value>) {
    let scaling = match &config.rope_scaling {
        RopeScaling::None => None,
        RopeScaling::Linear { factor } => Some(json!({ "factor": factor })),
        RopeScaling::Llama3 {
            factor,
            low_frequency_factor,
            high_frequency_factor,
            original_positions,
        } => Some(json!({
            "factor": factor,
            "low_freq_factor": low_frequency_factor,
            "high_freq_factor": high_frequency_factor,
            "original_max_position_embeddings": original_positions,
        })),
        RopeScaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            original_positions,
            attention_factor,
            truncate,
        } => Some(json!({
            "factor": factor,
            "beta_fast": beta_fast,
            "beta_slow": beta_slow,
            "original_max_position_embeddings": original_positions,
            "attention_factor": attention_factor,
            "truncate": truncate,
        })),
        RopeScaling::LongRope {
            short,
            long,
            original_positions,
            attention_factor,
        } => Some(long_rope(
            short,
            long,
            *original_positions,
            *attention_factor,
        )),
        // One set of divisors is two equal ones.
        RopeScaling::Factors { factors } => Some(long_rope(
            factors,
            factors,
            config.max_position_embeddings,
            1.0,
        )),
    };
    let kind = match &config.rope_scaling {
        RopeScaling::Factors { .. } => "longrope",
        other => other.name(),
    };
    let scaling = scaling.map(|mut scaling| {
        scaling["rope_type"] = json!(kind);
        scaling
    });
    let mut parameters = scaling.clone().unwrap_or(json!({ "rope_type": "default" }));
    parameters["rope_theta"] = json!(config.rope_theta);
    (parameters, scaling)
}

fn long_rope(short: &[f64], long: &[f64], original: usize, attention_factor: f64) -> Value {
    json!({
        "short_factor": short,
        "long_factor": long,
        "original_max_position_embeddings": original,
        "attention_factor": attention_factor,
    })
}
