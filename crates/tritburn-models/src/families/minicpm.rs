//! MiniCPM (Hu et al. 2024, arXiv 2404.06395): a Llama with the factors of maximal update
//! parametrisation.

use serde_json::{Map, Value, json};
use tritburn_formats::file::gguf;

use super::{FamilyFacts, HfDefaults, shortest};
use crate::config::gguf::Keys;
use crate::config::hf::Fields;
use crate::config::{ConfigError, DecoderConfig, Multipliers};

pub(super) static FACTS: FamilyFacts = FamilyFacts {
    model_type: "minicpm",
    class: "MiniCPMForCausalLM",
    defaults: HfDefaults {
        rms_norm_eps: 1e-5,
        tied: true,
        ..HfDefaults::LLAMA
    },
    gain_offset: 0.0,
    slides: false,
    read,
    write,
    gguf: &["minicpm"],
    gguf_interleaved: true,
    read_gguf,
    write_gguf,
};

fn read(fields: &Fields, config: &mut DecoderConfig) -> Result<(), ConfigError> {
    let base = fields.float("dim_model_base")?.unwrap_or(1.0);
    let depth = fields.float("scale_depth")?.unwrap_or(1.0);
    config.multipliers = Multipliers {
        embedding: fields.float("scale_emb")?.unwrap_or(1.0),
        residual: depth / (config.num_hidden_layers as f64).sqrt(),
        logits: base / config.hidden_size as f64,
        ..Multipliers::default()
    };
    Ok(())
}

fn write(config: &DecoderConfig, fields: &mut Map<String, Value>) {
    let Multipliers {
        embedding,
        residual,
        logits,
        ..
    } = config.multipliers;
    let (depth, width) = (
        (config.num_hidden_layers as f64).sqrt(),
        config.hidden_size as f64,
    );
    for (name, value) in [
        ("scale_emb", embedding),
        (
            "scale_depth",
            shortest(residual * depth, |v| v / depth == residual),
        ),
        (
            "dim_model_base",
            shortest(logits * width, |v| v / width == logits),
        ),
    ] {
        fields.insert(name.to_string(), json!(value));
    }
}

fn read_gguf(keys: &Keys<'_>, config: &mut DecoderConfig) -> Result<(), ConfigError> {
    config.multipliers = Multipliers {
        embedding: keys.required_float("embedding_scale")?,
        residual: keys.required_float("residual_scale")?,
        // The file has what hidden states are divided by.
        logits: 1.0 / keys.required_float("logit_scale")?,
        ..Multipliers::default()
    };
    Ok(())
}

fn write_gguf(config: &DecoderConfig) -> Vec<(&'static str, gguf::Value)> {
    let scales = [
        ("embedding_scale", config.multipliers.embedding),
        ("residual_scale", config.multipliers.residual),
        ("logit_scale", 1.0 / config.multipliers.logits),
    ];
    scales
        .map(|(key, scale)| (key, gguf::Value::F32(scale as f32)))
        .into()
}
