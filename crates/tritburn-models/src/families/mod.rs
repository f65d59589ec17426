//! The published families of models, a file each: how `config.json` and GGUF metadata call what is
//! theirs, and what goes without saying.
//!
//! The names of tensors are those of [`checkpoint`](crate::checkpoint) for all of them: published
//! decoders agree on these. CONTRIBUTING.md has a page on adding a family.

mod bitnet;
pub(crate) mod gemma3;
mod llama;
mod minicpm;
mod qwen2;
mod qwen3;

use std::fmt;

use serde_json::{Map, Value};
use tritburn_formats::file::gguf;

use crate::config::gguf::Keys;
use crate::config::hf::Fields;
use crate::config::{ConfigError, DecoderConfig, GatedActivation};

/// What a model is published as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// BitNet b1.58: sub-norms; squared ReLU (2B-4T), or SiLU (1bitLLM's).
    BitNet,
    /// Llama-shaped: Falcon-E, Falcon3-1.58bit, Llama3-8B-1.58, TriLM.
    Llama,
    /// Qwen2: biases of q, k and v.
    Qwen2,
    /// Qwen3: norms of query and key heads; Ternary Bonsai, BitNet-embedding.
    Qwen3,
    /// MiniCPM: μP factors; BitCPM.
    MiniCpm,
    /// Gemma 3 of text: norms behind blocks too, sliding layers, a GELU gate; BitNet-embedding 270m.
    Gemma3,
}

/// What is particular to a family.
pub(crate) struct FamilyFacts {
    /// `model_type` of `config.json`.
    pub model_type: &'static str,
    /// The class that `architectures` names.
    pub class: &'static str,
    /// What transformers, or the code that comes with the model, takes an absent field for.
    pub defaults: HfDefaults,
    /// What folders leave out of the gains of norms, those of projections excepted.
    pub gain_offset: f32,
    /// Whether layers may see a window of positions only.
    pub slides: bool,
    /// Reads what other families do not have from a `config.json`.
    pub read: fn(&Fields, &mut DecoderConfig) -> Result<(), ConfigError>,
    /// Writes it.
    pub write: fn(&DecoderConfig, &mut Map<String, Value>),
    /// Names of `general.architecture`; the first is written.
    pub gguf: &'static [&'static str],
    /// Whether GGUF files have the rows of q and k in the order of interleaved rotary pairs.
    pub gguf_interleaved: bool,
    /// Reads what other families do not have from GGUF metadata.
    pub read_gguf: fn(&Keys<'_>, &mut DecoderConfig) -> Result<(), ConfigError>,
    /// The keys of it with their values.
    pub write_gguf: fn(&DecoderConfig) -> Vec<(&'static str, gguf::Value)>,
}

/// Values of absent fields.
pub(crate) struct HfDefaults {
    pub hidden_act: GatedActivation,
    pub sub_norms: bool,
    pub post_norms: bool,
    pub head_norms: bool,
    pub qkv_bias: bool,
    pub tied: bool,
    pub rope_theta: f64,
    pub rms_norm_eps: f64,
    /// `None` for the share of a head in `hidden_size`.
    pub head_dim: Option<usize>,
}

impl HfDefaults {
    /// Those of transformers' Llama.
    const LLAMA: Self = Self {
        hidden_act: GatedActivation::Silu,
        sub_norms: false,
        post_norms: false,
        head_norms: false,
        qkv_bias: false,
        tied: false,
        rope_theta: 10_000.0,
        rms_norm_eps: 1e-6,
        head_dim: None,
    };
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::BitNet,
        Self::Llama,
        Self::Qwen2,
        Self::Qwen3,
        Self::MiniCpm,
        Self::Gemma3,
    ];

    pub(crate) fn facts(self) -> &'static FamilyFacts {
        match self {
            Self::BitNet => &bitnet::FACTS,
            Self::Llama => &llama::FACTS,
            Self::Qwen2 => &qwen2::FACTS,
            Self::Qwen3 => &qwen3::FACTS,
            Self::MiniCpm => &minicpm::FACTS,
            Self::Gemma3 => &gemma3::FACTS,
        }
    }

    /// The family of a `config.json`. Models that came before transformers knew BitNet call
    /// themselves Llamas of another class.
    pub(crate) fn of_hf(model_type: &str, classes: &[String]) -> Option<Self> {
        if model_type == llama::FACTS.model_type && classes.iter().any(|c| c == bitnet::OLD_CLASS) {
            return Some(Self::BitNet);
        }
        let named = |family: &Self| family.facts().model_type == model_type;
        match model_type {
            "mistral" => Some(Self::Llama),
            _ => Self::ALL.into_iter().find(named),
        }
    }

    /// The family of a GGUF file.
    pub(crate) fn of_gguf(architecture: &str) -> Option<Self> {
        let named = |family: &Self| family.facts().gguf.contains(&architecture);
        Self::ALL.into_iter().find(named)
    }

    /// The `model_type`s of all, for messages.
    pub(crate) fn names() -> String {
        Self::ALL.map(|f| f.facts().model_type).join(", ")
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.facts().model_type)
    }
}

/// For families that have nothing of their own.
fn nothing(_: &Fields, _: &mut DecoderConfig) -> Result<(), ConfigError> {
    Ok(())
}

fn writes_nothing(_: &DecoderConfig, _: &mut Map<String, Value>) {}

fn no_keys(_: &Keys<'_>, _: &mut DecoderConfig) -> Result<(), ConfigError> {
    Ok(())
}

fn no_values(_: &DecoderConfig) -> Vec<(&'static str, gguf::Value)> {
    Vec::new()
}

/// The number of fewest digits next to `value` that reads back as what was meant.
fn shortest(value: f64, reads_back: impl Fn(f64) -> bool) -> f64 {
    let rounded = |digits: usize| format!("{value:.digits$e}").parse().unwrap_or(value);
    (0..17)
        .map(rounded)
        .find(|&v| reads_back(v))
        .unwrap_or(value)
}
