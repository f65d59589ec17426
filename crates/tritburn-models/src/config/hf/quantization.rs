//! `quantization_config`: how the projections of a folder are stored.

use serde::Deserialize;
use serde_json::{Value, json};
use tritburn::InputPrecision;

use super::{TRITBURN, affine};
use crate::config::{AffineStorage, ConfigError, DecoderConfig, LinearClass, Quantization};

/// The method of transformers.
const METHOD: &str = "bitnet";
/// What transformers takes an absent epsilon for.
pub(super) const DEFAULT_NORM_EPS: f64 = 1e-6;

/// Parts of names that mean a projection.
const PROJECTIONS: [&str; 9] = [
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
    "self_attn",
    "mlp",
];

#[derive(Deserialize)]
pub(super) struct HfQuantization {
    quant_method: Option<String>,
    linear_class: Option<String>,
    quantization_mode: Option<String>,
    modules_to_not_convert: Option<Vec<String>>,
    use_rms_norm: Option<bool>,
    rms_norm_eps: Option<f64>,
    /// tritburn's own: what the model was trained to multiply.
    inputs: Option<InputPrecision>,
    /// tritburn's own: [`AFFINE`] where projections are no 2-bit codes.
    weights: Option<String>,
    // Of methods with groups, looked at where these are read.
    #[serde(default)]
    pub bits: Value,
    #[serde(default)]
    pub group_size: Value,
    #[serde(default)]
    pub checkpoint_format: Value,
    #[serde(default)]
    pub version: Value,
    #[serde(default)]
    pub dynamic: Value,
    #[serde(default)]
    pub lm_head: Value,
    #[serde(default)]
    pub is_marlin_format: Value,
}

/// What `weights` says of affine ones.
const AFFINE: &str = "affine";

/// What the section says.
pub(super) struct Resolved {
    pub quantization: Quantization,
    pub inputs: InputPrecision,
    pub projection_norm_eps: Option<f64>,
}

impl HfQuantization {
    /// `norms` says that the weights have norms of projections, where this is silent.
    pub fn resolve(self, norms: bool) -> Result<Resolved, ConfigError> {
        let value = |field: &str, found: Option<String>, expected| ConfigError::Value {
            field: format!("quantization_config.{field}"),
            found: found.map_or("absent".to_string(), |found| format!("{found:?}")),
            expected,
        };
        let norms = self.use_rms_norm.unwrap_or(norms);
        let eps = self.rms_norm_eps.unwrap_or(DEFAULT_NORM_EPS);
        let resolved = |quantization, inputs| Resolved {
            quantization,
            inputs,
            projection_norm_eps: norms.then_some(eps),
        };
        // As of plain floats: what ternary weights multiply is no matter here.
        let inputs = InputPrecision::default();
        let grouped = |storage| resolved(Quantization::Affine(storage), inputs);
        match self.quant_method.as_deref() {
            Some(TRITBURN) => {
                let packed = Quantization::Packed {
                    linear_class: LinearClass::AutoBitLinear,
                };
                return match self.weights.as_deref() {
                    None => Ok(resolved(packed, self.inputs.unwrap_or_default())),
                    Some(AFFINE) => Ok(grouped(AffineStorage::Canonical)),
                    Some(_) => Err(value("weights", self.weights, "absent or \"affine\"")),
                };
            }
            Some(affine::GPTQ) => return self.gptq().map(grouped),
            Some(affine::AWQ) => return self.awq().map(grouped),
            Some(METHOD) => {}
            _ => {
                let expected = "\"bitnet\", \"gptq\" or \"awq\"";
                return Err(value("quant_method", self.quant_method, expected));
            }
        }
        let kept = self.modules_to_not_convert.unwrap_or_default();
        let projection = |module: &&String| {
            let layers = module.contains("layers") && !module.contains("norm");
            module.is_empty() || layers || PROJECTIONS.iter().any(|part| module.contains(part))
        };
        if let Some(module) = kept.iter().find(projection) {
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
        let quantization = match (class, self.quantization_mode.as_deref()) {
            // transformers looks at the mode only for autobitlinear.
            (LinearClass::BitLinear, _) | (_, None | Some("offline")) => Quantization::Packed {
                linear_class: class,
            },
            (LinearClass::AutoBitLinear, Some("online")) => Quantization::Online,
            _ => {
                let expected = "\"online\" or \"offline\"";
                return Err(value("quantization_mode", self.quantization_mode, expected));
            }
        };
        Ok(resolved(quantization, InputPrecision::Int8))
    }
}

/// The section; `None` for plain floats.
pub(super) fn to_json(config: &DecoderConfig) -> Option<Value> {
    let (linear_class, mode) = match config.quantization {
        Quantization::Dense | Quantization::Unpacked => return None,
        Quantization::Online => ("autobitlinear", "online"),
        Quantization::Packed { linear_class } => (linear_class.name(), "offline"),
        Quantization::Affine(storage) => return affine::to_json(storage),
    };
    let mut section = json!({
        "quant_method": METHOD,
        "linear_class": linear_class,
        "quantization_mode": mode,
        "modules_to_not_convert": null,
    });
    add_norms(config, &mut section);
    Some(section)
}

/// The section of tritburn's own folders.
pub(super) fn to_tritburn_json(config: &DecoderConfig) -> Value {
    let mut section = match config.quantization {
        Quantization::Affine(_) => json!({ "quant_method": TRITBURN, "weights": AFFINE }),
        _ => json!({ "quant_method": TRITBURN, "inputs": config.inputs }),
    };
    add_norms(config, &mut section);
    section
}

fn add_norms(config: &DecoderConfig, section: &mut Value) {
    if let Some(eps) = config.projection_norm_eps {
        section["use_rms_norm"] = json!(true);
        section["rms_norm_eps"] = json!(eps);
    }
}

impl LinearClass {
    fn name(self) -> &'static str {
        match self {
            Self::BitLinear => "bitlinear",
            Self::AutoBitLinear => "autobitlinear",
        }
    }
}
