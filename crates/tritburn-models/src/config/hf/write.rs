//! Configurations as `config.json`.

use serde_json::{Map, Value, json};

use super::{activation_name, quantization, rope};
use crate::config::DecoderConfig;

impl DecoderConfig {
    /// The text of a `config.json` that transformers, and [`from_hf_json`](Self::from_hf_json),
    /// read. `dtype` is the name of the float type of embedding and norms, such as `bfloat16`.
    pub fn to_hf_json(&self, dtype: &str) -> String {
        let mut config = self.hf_json(dtype);
        match (quantization::to_json(self), self.projection_norm_eps) {
            (Some(section), _) => {
                config.insert("quantization_config".to_string(), section);
            }
            // The section would have it.
            (None, Some(eps)) => {
                config.insert("projection_norm_eps".to_string(), json!(eps));
            }
            (None, None) => {}
        }
        render(config)
    }

    /// The text of the `config.json` of tritburn's own folders: the same, but for the method of
    /// quantisation, so that other programs see at once that they cannot read the weights.
    pub(crate) fn to_tritburn_json(&self, dtype: &str) -> String {
        let mut config = self.hf_json(dtype);
        let section = quantization::to_tritburn_json(self);
        config.insert("quantization_config".to_string(), section);
        render(config)
    }

    fn hf_json(&self, dtype: &str) -> Map<String, Value> {
        let eos = match self.eos_token_ids.as_slice() {
            [] => Value::Null,
            [id] => json!(id),
            ids => json!(ids),
        };
        let (facts, defaults) = (self.family.facts(), &self.family.facts().defaults);
        let (rope_parameters, rope_scaling) = rope::to_json(self);
        let config = json!({
            "architectures": [facts.class],
            "model_type": facts.model_type,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "hidden_act": activation_name(self.hidden_act),
            "max_position_embeddings": self.max_position_embeddings,
            "initializer_range": self.initializer_range,
            "rms_norm_eps": self.rms_norm_eps,
            // Both spellings: releases of transformers read one or the other.
            "rope_theta": self.rope_theta,
            "rope_parameters": rope_parameters,
            "attention_bias": self.biases.qkv,
            "attention_dropout": 0.0,
            "tie_word_embeddings": self.tie_word_embeddings,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": eos,
            "pad_token_id": self.pad_token_id,
            "use_cache": true,
            "torch_dtype": dtype,
        });
        let Value::Object(mut config) = config else {
            return Map::new();
        };
        let shared = self.head_dim * self.num_attention_heads == self.hidden_size;
        if !shared || defaults.head_dim.is_some() {
            config.insert("head_dim".to_string(), json!(self.head_dim));
        }
        if let Some(scaling) = rope_scaling {
            config.insert("rope_scaling".to_string(), scaling);
        }
        if self.biases.ffn {
            config.insert("mlp_bias".to_string(), json!(true));
        }
        if self.partial_rotary_factor != 1.0 {
            let factor = json!(self.partial_rotary_factor);
            config.insert("partial_rotary_factor".to_string(), factor);
        }
        (facts.write)(self, &mut config);
        config
    }
}

fn render(config: Map<String, Value>) -> String {
    format!("{:#}\n", Value::Object(config))
}
