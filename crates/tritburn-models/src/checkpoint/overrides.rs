//! Keys of a configuration that a file has wrong, or lacks.

use serde_json::{Map, Value as Json, json};
use tritburn::InputPrecision;
use tritburn_formats::file::gguf::{Metadata, Value};

use super::CheckpointError;
use crate::config::{Quantization, gguf, hf};

/// Names of `config.json` for keys of GGUF metadata.
const SHARED: [(&str, &str); 6] = [
    ("rope_theta", "rope.freq_base"),
    ("hidden_act", "hidden_activation"),
    ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
    ("max_position_embeddings", "context_length"),
    ("num_attention_heads", "attention.head_count"),
    ("num_key_value_heads", "attention.head_count_kv"),
];

/// What ternary weights multiply.
const INPUTS: &str = "inputs";
/// How weights are stored.
const QUANTIZATION: &str = "quantization";
/// Most names of a path.
const DEPTH: usize = 8;

/// Values to take instead of those of a file, applied in order before anything is read from it.
///
/// In a folder a key is one of `config.json`, with dots between the names of nested ones; `quantization`
/// stands for the whole `quantization_config`: `online`, `offline` (autobitlinear) or `none`, and `inputs`
/// (`int8` or `float`) says what ternary weights multiply. In a
/// GGUF file it is one of the metadata, with or without the name of the architecture; the common
/// names of `config.json` are known too. Values are JSON; what is none is a string.
///
/// # Examples
///
/// ```
/// use tritburn_models::checkpoint::Overrides;
///
/// let overrides = Overrides::parse(["rope_theta=500000", "hidden_act=relu2"])?;
/// assert!(!overrides.is_empty());
/// assert!(Overrides::parse(["rope_theta"]).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides(Vec<(String, Json)>);

impl Overrides {
    /// From texts `KEY=VALUE`.
    ///
    /// # Errors
    /// [`CheckpointError::Override`] for a text without a key or without `=`.
    pub fn parse<T: AsRef<str>>(
        texts: impl IntoIterator<Item = T>,
    ) -> Result<Self, CheckpointError> {
        let pair = |text: T| {
            let text = text.as_ref();
            match text.split_once('=') {
                Some((key, _)) if key.split('.').count() > DEPTH => {
                    Err(CheckpointError::Override {
                        text: key.chars().take(80).collect(),
                        reason: "a key has at most 8 names",
                    })
                }
                Some((key, value)) if !key.trim().is_empty() => {
                    let json = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
                    Ok((key.trim().to_string(), json))
                }
                _ => Err(CheckpointError::Override {
                    text: text.to_string(),
                    reason: "expected KEY=VALUE",
                }),
            }
        };
        texts
            .into_iter()
            .map(pair)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What ternary weights are to multiply, where that is overridden (key `inputs`).
    ///
    /// # Errors
    /// [`CheckpointError::Override`] for anything but `int8` and `float`.
    pub(crate) fn inputs(&self) -> Result<Option<InputPrecision>, CheckpointError> {
        let named = self.0.iter().rev().find(|(key, _)| key == INPUTS);
        match named.map(|(_, value)| value.as_str()) {
            None => Ok(None),
            Some(Some("int8")) => Ok(Some(InputPrecision::Int8)),
            Some(Some("float")) => Ok(Some(InputPrecision::Float)),
            Some(_) => Err(CheckpointError::Override {
                text: INPUTS.to_string(),
                reason: "inputs are int8 or float",
            }),
        }
    }

    /// How float weights are meant, where that is overridden (key `quantization`).
    ///
    /// # Errors
    /// [`CheckpointError::Override`] for anything but `online` and `none`.
    pub(crate) fn quantization(&self) -> Result<Option<Quantization>, CheckpointError> {
        let named = self.0.iter().rev().find(|(key, _)| key == QUANTIZATION);
        match named.map(|(_, value)| value.as_str()) {
            None => Ok(None),
            Some(Some("online")) => Ok(Some(Quantization::Online)),
            Some(Some("none")) => Ok(Some(Quantization::Dense)),
            Some(_) => Err(CheckpointError::Override {
                text: QUANTIZATION.to_string(),
                reason: "float weights are `online`, master weights, or `none`, plain floats",
            }),
        }
    }

    /// Changes a `config.json`.
    ///
    /// # Errors
    /// [`CheckpointError::Override`] for keys that nothing reads.
    pub(crate) fn apply_json(&self, config: &mut Json) -> Result<(), CheckpointError> {
        // What is no object is told with what else is wrong with it.
        if !config.is_object() {
            return Ok(());
        }
        for (key, value) in &self.0 {
            let refuse = |reason| CheckpointError::Override {
                text: format!("{key}={value}"),
                reason,
            };
            let name = key.split('.').next().unwrap_or_default();
            if ![INPUTS, QUANTIZATION].contains(&name)
                && !hf::FIELDS.contains(&name)
                && config.get(name).is_none()
            {
                return Err(refuse("no field of that name is read from config.json"));
            }
            match (key.as_str(), value.as_str()) {
                (QUANTIZATION, Some(mode @ ("online" | "offline"))) => {
                    config["quantization_config"] = json!({
                        "quant_method": "bitnet",
                        "linear_class": "autobitlinear",
                        "quantization_mode": mode,
                    });
                }
                (INPUTS, _) => {}
                (QUANTIZATION, Some("none")) => config["quantization_config"] = Json::Null,
                (QUANTIZATION, _) => {
                    return Err(refuse("quantization is `online`, `offline` or `none`"));
                }
                _ => set(config, key, value),
            }
        }
        Ok(())
    }

    /// Changes the metadata of a GGUF file.
    pub(crate) fn apply_gguf(&self, metadata: &mut Metadata) -> Result<(), CheckpointError> {
        for (key, json) in &self.0 {
            if key == QUANTIZATION {
                continue;
            }
            let key = gguf_key(key, metadata);
            let refuse = |reason| CheckpointError::Override {
                text: format!("{key}={json}"),
                reason,
            };
            let prefix = format!("{}.", metadata.architecture());
            let own = key.strip_prefix(&prefix);
            let read = own.is_some_and(|own| gguf::KEYS.contains(&own))
                || ["tokenizer.", "tritburn.", "general."]
                    .iter()
                    .any(|root| key.starts_with(root));
            if !read && metadata.get(&key).is_none() {
                return Err(refuse("no key of that name is read from GGUF metadata"));
            }
            let value = match json {
                Json::Bool(value) => Value::Bool(*value),
                Json::String(text) => Value::String(text.clone()),
                Json::Number(number) => {
                    let float = matches!(metadata.get(&key), Some(Value::F32(_) | Value::F64(_)));
                    let whole = number.as_u64().and_then(|n| u32::try_from(n).ok());
                    match whole.filter(|_| !float && !is_float_key(&key)) {
                        Some(whole) => Value::U32(whole),
                        None => Value::F32(number.as_f64().unwrap_or(f64::NAN) as f32),
                    }
                }
                _ => {
                    return Err(refuse(
                        "a value of metadata is a number, a text, true or false",
                    ));
                }
            };
            metadata.set(key, value);
        }
        Ok(())
    }
}

/// Whether a whole number under the key is meant as a float.
fn is_float_key(key: &str) -> bool {
    let ends = ["freq_base", "epsilon", "factor", "_scale"];
    ends.iter().any(|end| key.ends_with(end))
}

fn gguf_key(key: &str, metadata: &Metadata) -> String {
    let architecture = metadata.architecture();
    if let Some((_, own)) = SHARED.iter().find(|(shared, _)| *shared == key) {
        return format!("{architecture}.{own}");
    }
    if let Some(token) = key
        .strip_suffix("_token_id")
        .filter(|name| !name.contains('.'))
    {
        let token = if token == "pad" { "padding" } else { token };
        return format!("tokenizer.ggml.{token}_token_id");
    }
    let rooted = ["general.", "tokenizer.", "tritburn.", "prism."];
    let prefixed = key.starts_with(&format!("{architecture}."));
    match prefixed || rooted.iter().any(|root| key.starts_with(root)) {
        true => key.to_string(),
        false if key == INPUTS => "tritburn.inputs".to_string(),
        false => format!("{architecture}.{key}"),
    }
}

/// Sets a value under a path of names.
fn set(config: &mut Json, path: &str, value: &Json) {
    let (name, rest) = match path.split_once('.') {
        Some((name, rest)) => (name, Some(rest)),
        None => (path, None),
    };
    if !config.is_object() {
        *config = Json::Object(Map::new());
    }
    match rest {
        None => config[name] = value.clone(),
        Some(rest) => set(&mut config[name], rest, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_folders_may_be_nested() {
        let mut config = json!({ "rope_theta": 1, "quantization_config": null });
        let overrides = [
            "rope_theta=2.5",
            "quantization_config.linear_class=bitlinear",
            "eos_token_id=[1, 2]",
        ];
        Overrides::parse(overrides)
            .unwrap()
            .apply_json(&mut config)
            .unwrap();
        let expected = json!({
            "rope_theta": 2.5,
            "quantization_config": { "linear_class": "bitlinear" },
            "eos_token_id": [1, 2],
        });
        assert_eq!(config, expected);
        let online = Overrides::parse(["quantization=online"]).unwrap();
        online.apply_json(&mut config).unwrap();
        assert_eq!(config["quantization_config"]["quantization_mode"], "online");
    }

    #[test]
    fn keys_that_nothing_reads_are_refused() {
        let refused = |text: &str, config: &mut Json| {
            let overrides = Overrides::parse([text]).unwrap();
            overrides.apply_json(config).is_err()
        };
        let mut config = json!({ "rope_theta": 1, "special": 2 });
        assert!(refused("rope_thetta=5", &mut config));
        assert!(refused("quantization=ternary", &mut config));
        assert!(!refused("special=3", &mut config), "it is there");
        // No object: told elsewhere.
        let mut list = json!([]);
        assert!(!refused("quantization=online", &mut list));
        assert_eq!(list, json!([]));
        assert!(Overrides::parse([format!("{}=1", vec!["a"; 30_000].join("."))]).is_err());
        let mut metadata = Metadata::new();
        metadata.set("general.architecture", Value::String("llama".into()));
        for unread in ["num_hidden_layers=1", "qwen3.rope.freq_base=5"] {
            let overrides = Overrides::parse([unread]).unwrap();
            assert!(overrides.apply_gguf(&mut metadata).is_err(), "{unread}");
        }
    }

    #[test]
    fn keys_of_gguf_files_keep_their_types() {
        let mut metadata = Metadata::new();
        metadata.set("general.architecture", Value::String("llama".into()));
        let overrides = [
            "rope_theta=500000",
            "hidden_activation=relu2",
            "llama.context_length=64",
            "eos_token_id=3",
            "inputs=float",
        ];
        let overrides = Overrides::parse(overrides).unwrap();
        overrides.apply_gguf(&mut metadata).unwrap();
        for (key, expected) in [
            ("llama.rope.freq_base", Value::F32(500_000.0)),
            ("llama.hidden_activation", Value::String("relu2".into())),
            ("llama.context_length", Value::U32(64)),
            ("tokenizer.ggml.eos_token_id", Value::U32(3)),
            ("tritburn.inputs", Value::String("float".into())),
        ] {
            assert_eq!(metadata.get(key), Some(&expected), "{key}");
        }
        let list = Overrides::parse(["context_length=[1]"]).unwrap();
        assert!(list.apply_gguf(&mut metadata).is_err());
    }
}
