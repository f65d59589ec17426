//! Which models a format has places for, and the programs that read it arithmetic.

use ::tritburn::InputPrecision;

use super::{ConvertError, Target};
use crate::checkpoint::check_shape_of_bitnet;
use crate::config::{Biases, DecoderConfig, Family, GatedActivation, SlidingLayers};
use crate::families::gemma3;

/// Refuses a model that would not be the same one in `target`.
pub(super) fn check(config: &DecoderConfig, target: Target) -> Result<(), ConvertError> {
    let refuse = |reason: String| {
        Err(ConvertError::Model {
            target: target.name(),
            reason,
        })
    };
    let quantizes = matches!(target, Target::Hf | Target::BitNetGpu | Target::GgufI2S);
    if quantizes && config.inputs == InputPrecision::Float {
        return refuse(
            "its layers multiply int8 activations, and the model was trained with floats"
                .to_string(),
        );
    }
    if target == Target::BitNetGpu {
        return check_shape_of_bitnet(config).or_else(|error| refuse(error.to_string()));
    }
    if !target.is_file() {
        return Ok(());
    }
    tensors(config, target)
        .and_then(|()| arithmetic(config))
        .or_else(refuse)?;
    match target {
        Target::GgufI2S => whole_blocks(config, target),
        _ => Ok(()),
    }
}

/// Tensors that a GGUF file of the family has no names for, or that its readers do not look for.
fn tensors(config: &DecoderConfig, target: Target) -> Result<(), String> {
    let family = config.family;
    let llama_cpp = target != Target::GgufI2S;
    let bitnet = family == Family::BitNet;
    let silu = config.hidden_act == GatedActivation::Silu;
    if bitnet && (llama_cpp || silu) && !config.tie_word_embeddings {
        return Err("llama.cpp's bitnet has no output head but the embedding".to_string());
    }
    for (kind, needed, present) in [
        ("sub-norms", bitnet, config.sub_norms),
        (
            "norms behind blocks",
            family == Family::Gemma3,
            config.post_norms,
        ),
    ] {
        if needed != present {
            let has = if present { "some" } else { "none" };
            return Err(format!(
                "{family} has no place for {kind}, or needs them: the model has {has}"
            ));
        }
    }
    match config.projection_norm_eps {
        Some(_) if llama_cpp => Err("it has no place for the norms of projections".to_string()),
        Some(eps) if eps != config.rms_norm_eps => Err(format!(
            "it has one epsilon for all norms: those of projections have {eps}, others {}",
            config.rms_norm_eps
        )),
        _ => Ok(()),
    }
}

/// What llama.cpp's graphs of the families compute otherwise.
fn arithmetic(config: &DecoderConfig) -> Result<(), String> {
    let family = config.family;
    let bitnet = family == Family::BitNet;
    let biases = match family {
        Family::BitNet => config.biases != Biases::default(),
        Family::Qwen2 | Family::Qwen3 | Family::Gemma3 => config.biases.ffn || config.biases.output,
        _ => config.biases.ffn,
    };
    if biases {
        return Err(format!("{family} has no such biases in llama.cpp"));
    }
    let gates: &[GatedActivation] = match bitnet {
        true => &[GatedActivation::SquaredRelu, GatedActivation::Silu],
        false => &[family.facts().defaults.hidden_act],
    };
    if !gates.contains(&config.hidden_act) {
        return Err(format!(
            "llama.cpp has {gates:?} for {family}, not {:?}",
            config.hidden_act
        ));
    }
    if !bitnet && config.rotary_dim() != config.head_dim {
        return Err("llama.cpp rotates whole heads of this family".to_string());
    }
    let wide = config.query_size() != config.hidden_size;
    if family == Family::Qwen2 && wide {
        return Err("llama.cpp takes heads of qwen2 to be as wide as the model".to_string());
    }
    if bitnet && wide {
        let (query, hidden) = (config.query_size(), config.hidden_size);
        return Err(format!("its heads are {query} wide together, not {hidden}"));
    }
    let every_sixth = |sliding: &SlidingLayers| {
        sliding.layers == SlidingLayers::pattern(config.num_hidden_layers, gemma3::PERIOD)
    };
    match config.sliding.as_ref().is_none_or(every_sixth) {
        true => Ok(()),
        false => {
            Err("llama.cpp lets every sixth layer see all positions, and no others".to_string())
        }
    }
}

/// The bytes of any rows are well defined, but bitnet.cpp reads each in whole blocks.
fn whole_blocks(config: &DecoderConfig, target: Target) -> Result<(), ConvertError> {
    const BLOCK: usize = 128;
    for (field, found) in [
        ("hidden_size", config.hidden_size),
        ("the width of all query heads", config.query_size()),
        ("intermediate_size", config.intermediate_size),
    ] {
        if !found.is_multiple_of(BLOCK) {
            return Err(ConvertError::Width {
                target: target.name(),
                field,
                found,
                block: BLOCK,
            });
        }
    }
    Ok(())
}
