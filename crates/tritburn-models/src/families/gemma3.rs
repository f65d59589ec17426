//! Gemma 3 (Gemma Team 2025, arXiv 2503.19786), without its pictures: `transformers/models/gemma3`.
//! BitNet-embedding 270m has its shape.

use serde_json::{Map, Value, json};
use tritburn_formats::file::gguf;

use super::{FamilyFacts, HfDefaults, shortest};
use crate::config::gguf::Keys;
use crate::config::hf::{Fields, activation};
use crate::config::{ConfigError, DecoderConfig, GatedActivation, Multipliers, SlidingLayers};

pub(super) static FACTS: FamilyFacts = FamilyFacts {
    model_type: "gemma3_text",
    class: "Gemma3ForCausalLM",
    defaults: HfDefaults {
        hidden_act: GatedActivation::GeluTanh,
        head_norms: true,
        post_norms: true,
        tied: true,
        rope_theta: 1_000_000.0,
        head_dim: Some(256),
        ..HfDefaults::LLAMA
    },
    gain_offset: 1.0,
    slides: true,
    read,
    write,
    gguf: &["gemma3"],
    gguf_interleaved: false,
    read_gguf,
    write_gguf,
};

/// What transformers and llama.cpp take absent fields for.
const LOCAL_THETA: f64 = 10_000.0;
const WINDOW: usize = 4096;
/// Of so many layers the last sees all positions.
pub(crate) const PERIOD: usize = 6;

/// The embedding times the root of its width, and scores divided by the root of `queries`.
fn multipliers(config: &DecoderConfig, queries: f64) -> Multipliers {
    Multipliers {
        embedding: (config.hidden_size as f64).sqrt(),
        queries: (config.head_dim as f64 / queries).sqrt(),
        ..Multipliers::default()
    }
}

fn read(fields: &Fields, config: &mut DecoderConfig) -> Result<(), ConfigError> {
    // `hidden_act` is not asked.
    let name = "hidden_activation";
    config.hidden_act = match fields.get(name) {
        Some(value) => activation(name, value.as_str().unwrap_or_default())?,
        None => FACTS.defaults.hidden_act,
    };
    let queries = fields.float("query_pre_attn_scalar")?.unwrap_or(256.0);
    config.multipliers = multipliers(config, queries);
    let layers = match fields.get("layer_types") {
        Some(kinds) => layers(kinds)?,
        None => pattern(config, fields.size("sliding_window_pattern")?)?,
    };
    config.sliding = Some(SlidingLayers {
        window: fields.size("sliding_window")?.unwrap_or(WINDOW),
        rope_theta: local_theta(fields)?,
        layers,
    });
    Ok(())
}

/// The rotary base of sliding layers: newer releases of transformers write a set for each kind of layer.
fn local_theta(fields: &Fields) -> Result<f64, ConfigError> {
    let sets = fields.get("rope_parameters");
    let local = sets.and_then(|sets| sets.get("sliding_attention"));
    let kind = local.and_then(|local| local.get("rope_type"));
    if let Some(kind) = kind.filter(|kind| *kind != "default") {
        return Err(ConfigError::Unsupported {
            field: "rope_parameters.sliding_attention.rope_type",
            found: kind.to_string(),
            reason: "the rotation of sliding layers is not scaled here",
        });
    }
    let theta = match local.and_then(|local| local.get("rope_theta")?.as_f64()) {
        None => fields.float("rope_local_base_freq")?,
        theta => theta,
    };
    Ok(theta.unwrap_or(LOCAL_THETA))
}

/// Which layers slide, by their names.
fn layers(kinds: &Value) -> Result<Vec<bool>, ConfigError> {
    let slides = |kind: &Value| match kind.as_str() {
        Some("sliding_attention") => Ok(true),
        Some("full_attention") => Ok(false),
        _ => Err(ConfigError::Value {
            field: "layer_types".to_string(),
            found: kind.to_string(),
            expected: "sliding_attention or full_attention",
        }),
    };
    let kinds = kinds.as_array().map(Vec::as_slice).unwrap_or_default();
    kinds.iter().map(slides).collect()
}

fn pattern(config: &DecoderConfig, period: Option<usize>) -> Result<Vec<bool>, ConfigError> {
    match period.unwrap_or(PERIOD) {
        0 => Err(ConfigError::Range {
            field: "sliding_window_pattern",
            value: 0,
            min: 1,
            max: usize::MAX,
        }),
        period => Ok(SlidingLayers::pattern(config.num_hidden_layers, period)),
    }
}

fn write(config: &DecoderConfig, fields: &mut Map<String, Value>) {
    let (width, factor) = (config.head_dim as f64, config.multipliers.queries);
    let queries = shortest(width / factor.powi(2), |q| (width / q).sqrt() == factor);
    fields.insert("query_pre_attn_scalar".to_string(), json!(queries));
    fields.insert(
        "hidden_activation".to_string(),
        fields["hidden_act"].clone(),
    );
    let Some(sliding) = &config.sliding else {
        return;
    };
    let kind = |&slides: &bool| match slides {
        true => "sliding_attention",
        false => "full_attention",
    };
    let kinds: Vec<_> = sliding.layers.iter().map(kind).collect();
    fields.insert("layer_types".to_string(), json!(kinds));
    fields.insert("sliding_window".to_string(), json!(sliding.window));
    let theta = json!(sliding.rope_theta);
    fields.insert("rope_local_base_freq".to_string(), theta.clone());
    // The newer spelling has a set for each kind of layer.
    let full = fields["rope_parameters"].take();
    fields["rope_parameters"] = json!({
        "full_attention": full,
        "sliding_attention": { "rope_type": "default", "rope_theta": theta },
    });
}

fn read_gguf(keys: &Keys<'_>, config: &mut DecoderConfig) -> Result<(), ConfigError> {
    let queries = match keys.float(SCALE)?.filter(|&scale| scale != 0.0) {
        Some(scale) => scale.powi(-2),
        // llama.cpp has no key for it, and knows the one model by its layers.
        None if config.num_hidden_layers == LAYERS_OF_27B => {
            config.hidden_size as f64 / config.num_attention_heads as f64
        }
        None => config.head_dim as f64,
    };
    config.multipliers = multipliers(config, queries);
    let period = keys.optional_size("attention.sliding_window_pattern")?;
    if let Some(window) = keys.optional_size(SLIDING_WINDOW)?.filter(|&n| n > 0) {
        config.sliding = Some(SlidingLayers {
            window,
            rope_theta: keys.float("rope.freq_base_swa")?.unwrap_or(LOCAL_THETA),
            layers: pattern(config, period)?,
        });
    }
    Ok(())
}

const LAYERS_OF_27B: usize = 62;
const SCALE: &str = "attention.scale";
const SLIDING_WINDOW: &str = "attention.sliding_window";

fn write_gguf(config: &DecoderConfig) -> Vec<(&'static str, gguf::Value)> {
    let mut values = Vec::new();
    if config.multipliers.queries != 1.0 {
        let scale = config.multipliers.queries / (config.head_dim as f64).sqrt();
        values.push((SCALE, gguf::Value::F32(scale as f32)));
    }
    if let Some(sliding) = &config.sliding {
        values.extend([
            (SLIDING_WINDOW, gguf::Value::U32(sliding.window as u32)),
            (
                "rope.freq_base_swa",
                gguf::Value::F32(sliding.rope_theta as f32),
            ),
        ]);
    }
    values
}
