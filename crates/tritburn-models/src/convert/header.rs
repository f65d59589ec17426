//! The metadata of a GGUF result.

use std::path::Path;

use tritburn_formats::file::gguf::{Metadata, Value};

use super::{ConvertError, Loss, Target};
use crate::checkpoint::Checkpoint;
use crate::config::{DecoderConfig, Family, GatedActivation};
use crate::text::{NO_TOKENIZER, TOKENIZER, TextError, TokenizerFiles};

/// What a GGUF file says about its model.
pub(super) struct Header {
    pub metadata: Metadata,
    /// What it has no place for.
    pub losses: Vec<Loss>,
    /// The configuration that reads back: special tokens that the source's own does not name are
    /// those of its tokenizer.
    pub config: DecoderConfig,
}

impl Header {
    /// The metadata of `source` in a GGUF format; nothing for the others.
    pub fn new(
        source: &dyn Checkpoint,
        target: Target,
        files: &TokenizerFiles,
        stop_ids: Vec<u32>,
        to: &Path,
    ) -> Result<Self, ConvertError> {
        let mut this = Self {
            metadata: Metadata::new(),
            losses: Vec::new(),
            config: source.config().clone(),
        };
        let file_type = match target {
            Target::GgufI2S => 40,
            Target::GgufTq1_0 => 36,
            Target::GgufTq2_0 => 37,
            Target::GgufQ2_0 => 41,
            _ => return Ok(this),
        };
        let architecture = architecture(&this.config, target);
        let metadata = &mut this.metadata;
        let written = this.config.write_gguf(architecture, metadata);
        written.map_err(|error| ConvertError::Model {
            target: target.name(),
            reason: error.to_string(),
        })?;
        let squared = this.config.hidden_act == GatedActivation::SquaredRelu;
        if squared && architecture == LLAMA_CPP_BITNET {
            tracing::warn!(
                "released llama.cpp computes SiLU for architecture \"{LLAMA_CPP_BITNET}\", whatever \
                 hidden_activation says: this model has squared ReLU, and will give other text \
                 there; bitnet.cpp and gguf-i2_s have it"
            );
        }
        let name = to.file_stem().unwrap_or_default().to_string_lossy();
        metadata.set("general.name", Value::String(name.into_owned()));
        metadata.set("general.file_type", Value::U32(file_type));
        metadata.set("general.quantization_version", Value::U32(2));
        let plain = metadata.clone();
        match files.write_gguf(metadata, this.config.vocab_size) {
            Ok(()) => {}
            Err(error @ (TextError::Unsupported { .. } | TextError::TokenId { .. })) => {
                *metadata = plain;
                this.losses.push(Loss::Tokenizer {
                    reason: error.to_string(),
                });
            }
            Err(error) => return Err(error.into()),
        }
        // llama.cpp loads no file that says nothing of a vocabulary.
        if this.metadata.get(TOKENIZER).is_none() {
            let none = Value::String(NO_TOKENIZER.to_string());
            this.metadata.set(TOKENIZER, none);
        }
        this.place_stop_ids(stop_ids);
        for (name, id) in [
            ("bos", &mut this.config.bos_token_id),
            ("padding", &mut this.config.pad_token_id),
        ] {
            let value = this.metadata.get(&token_key(name)).and_then(Value::as_u64);
            *id = id.or(value.and_then(|id| id.try_into().ok()));
        }
        Ok(this)
    }

    /// A file has room for two tokens that end something: a text and a turn.
    fn place_stop_ids(&mut self, ids: Vec<u32>) {
        let keys = ["eos", "eot"].map(token_key);
        let metadata = &mut self.metadata;
        for &id in &ids {
            let named = |key: &String| metadata.get(key).and_then(Value::as_u64);
            if keys.iter().any(|key| named(key) == Some(id.into())) {
                continue;
            }
            if let Some(free) = keys.iter().find(|key| named(key).is_none()) {
                metadata.set(free, Value::U32(id));
            }
        }
        let placed = keys.map(|key| metadata.get(&key).and_then(Value::as_u64));
        let (kept, lost) = ids
            .into_iter()
            .partition::<Vec<_>, _>(|&id| placed.contains(&Some(id.into())));
        self.config.eos_token_ids = kept;
        if !lost.is_empty() {
            self.losses.push(Loss::EndTokens { ids: lost });
        }
    }
}

/// llama.cpp's BitNet, which microsoft/BitNet uses for models with SiLU too.
const LLAMA_CPP_BITNET: &str = "bitnet";

/// The name under which the programs that a format is for know the model.
fn architecture(config: &DecoderConfig, target: Target) -> &'static str {
    let squared = config.hidden_act == GatedActivation::SquaredRelu;
    match (config.family, target) {
        (Family::BitNet, Target::GgufI2S) if squared => "bitnet-b1.58",
        (Family::BitNet, _) => LLAMA_CPP_BITNET,
        (family, _) => family.facts().gguf[0],
    }
}

fn token_key(name: &str) -> String {
    format!("tokenizer.ggml.{name}_token_id")
}
