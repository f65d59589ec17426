//! Configurations as GGUF metadata.

use tritburn::InputPrecision;
use tritburn_formats::file::gguf::{Metadata, Value};

use super::{FLOAT, INPUTS, INT8};
use crate::config::hf::activation_name;
use crate::config::rope::yarn_attention;
use crate::config::{ConfigError, DecoderConfig, RopeScaling};

impl DecoderConfig {
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
        for (key, value) in sizes {
            // Validated sizes are under 2³¹.
            metadata.set(format!("{name}.{key}"), Value::U32(value as u32));
        }
        for (key, value) in floats {
            metadata.set(format!("{name}.{key}"), Value::F32(value as f32));
        }
        for (key, value) in (self.family.facts().write_gguf)(self) {
            metadata.set(format!("{name}.{key}"), value);
        }
        let act = Value::String(activation_name(self.hidden_act).to_string());
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
