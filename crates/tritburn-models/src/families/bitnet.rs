//! BitNet b1.58 (Ma et al. 2024, arXiv 2402.17764; 2B-4T: arXiv 2504.12285): `transformers/models/bitnet`,
//! and the code that 1bitLLM published before.

use serde_json::{Map, Value, json};

use super::{FamilyFacts, HfDefaults, no_values};
use crate::config::gguf::Keys;
use crate::config::hf::Fields;
use crate::config::{ConfigError, DecoderConfig, GatedActivation, Quantization};

/// What `architectures` names in models of `model_type` llama that are BitNets.
pub(super) const OLD_CLASS: &str = "BitnetForCausalLM";

pub(super) static FACTS: FamilyFacts = FamilyFacts {
    model_type: "bitnet",
    class: "BitNetForCausalLM",
    defaults: HfDefaults {
        hidden_act: GatedActivation::SquaredRelu,
        sub_norms: true,
        rope_theta: 500_000.0,
        rms_norm_eps: 1e-5,
        ..HfDefaults::LLAMA
    },
    gain_offset: 0.0,
    slides: false,
    read,
    write,
    gguf: &["bitnet-b1.58", "bitnet", "bitnet-25"],
    gguf_interleaved: false,
    read_gguf,
    write_gguf: no_values,
};

/// 1bitLLM's models name bits instead of a method: master weights, quantised as they run.
fn read(fields: &Fields, config: &mut DecoderConfig) -> Result<(), ConfigError> {
    let (weights, inputs) = (fields.size("weight_bits")?, fields.size("input_bits")?);
    match (weights, inputs) {
        (None, None) => Ok(()),
        (Some(1), Some(8)) if config.quantization == Quantization::Dense => {
            config.quantization = Quantization::Online;
            Ok(())
        }
        (Some(1), Some(8)) => Ok(()),
        (weights, inputs) => Err(ConfigError::Value {
            field: "weight_bits and input_bits".to_string(),
            found: format!("{weights:?} and {inputs:?}"),
            expected: "1 and 8",
        }),
    }
}

fn write(config: &DecoderConfig, fields: &mut Map<String, Value>) {
    if !config.sub_norms {
        fields.insert("use_sub_norms".to_string(), json!(false));
    }
}

/// microsoft/BitNet's `bitnet-b1.58` always has squared ReLU. llama.cpp's `bitnet` is SiLU unless
/// `hidden_activation` says otherwise, and its converter leaves that key out for models with squared
/// ReLU: nobody can tell.
fn read_gguf(keys: &Keys<'_>, _: &mut DecoderConfig) -> Result<(), ConfigError> {
    if keys.architecture() == "bitnet" && !keys.has("hidden_activation") {
        return Err(ConfigError::Value {
            field: keys.key("hidden_activation"),
            found: "absent, which llama.cpp takes for silu".to_string(),
            expected: "relu2, the squared ReLU of BitNet b1.58 2B-4T, or silu: override the key \
                       with what the model was trained with",
        });
    }
    Ok(())
}
