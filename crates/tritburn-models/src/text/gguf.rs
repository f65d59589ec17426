//! Tokenizers in GGUF metadata, both ways.
//!
//! GGUF knows byte-level BPE as the model `gpt2`: tokens by id, their types, merges, and under
//! `tokenizer.ggml.pre` the name of the rule that splits text first. What such a file cannot say
//! (normalisers, other post-processing) is kept by `tokenizer.huggingface.json`, an entry of the
//! GGUF specification that holds the whole `tokenizer.json`; it is written always and preferred
//! when reading.

use serde_json::{Map, Value as Json, json};
use tritburn_formats::file::gguf::{Array, Metadata, Value};

use super::files::token_text;
use super::{TextError, TokenizerFiles};

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
const CHAT_TEMPLATE: &str = "tokenizer.chat_template";
const HUGGING_FACE: &str = "tokenizer.huggingface.json";

const END: &str = "tokenizer.ggml.eos_token_id";
/// Metadata key and name in `tokenizer_config.json` of the special tokens.
const SPECIAL: [(&str, &str); 4] = [
    ("tokenizer.ggml.bos_token_id", "bos_token"),
    (END, "eos_token"),
    ("tokenizer.ggml.padding_token_id", "pad_token"),
    ("tokenizer.ggml.unknown_token_id", "unk_token"),
];
/// Ends a turn; `eos_token_id` then ends a text.
const END_OF_TURN: &str = "tokenizer.ggml.eot_token_id";
/// Control tokens that end a turn in files that do not say which one does, as BitNet's own
/// converter and older ones of llama.cpp write them.
const TURN_ENDS: [&str; 3] = ["<|eot_id|>", "<|im_end|>", "<|end_of_turn|>"];

/// Token types of GGUF.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

const LLAMA_3: &str = "llama-bpe";
const GPT_2: &str = "gpt-2";

/// How Llama 3's tokenizer splits text, as its `tokenizer.json` has it.
const LLAMA_3_SPLIT: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
/// Size of Llama 3's vocabulary, by which a file that names no splitting rule is told.
const LLAMA_3_VOCABULARY: usize = 128_256;

impl TokenizerFiles {
    /// The tokenizer of a GGUF file: its `tokenizer.huggingface.json`, or one made of tokens and
    /// merges. Empty if the file has none.
    ///
    /// # Errors
    /// [`TextError::Unsupported`] for tokenizers that are not byte-level BPE (`gpt2`) and for
    /// unknown splitting rules, [`TextError::Metadata`] for damaged entries.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, TextError> {
        let chat_template = match metadata.get(CHAT_TEMPLATE) {
            None => None,
            Some(value) => Some(expect(CHAT_TEMPLATE, value.as_str(), "a string")?.to_string()),
        };
        if metadata.get(TOKENS).is_none() && metadata.get(HUGGING_FACE).is_none() {
            return Ok(Self {
                chat_template,
                ..Self::default()
            });
        }
        let tokenizer = match metadata.get(HUGGING_FACE) {
            Some(value) => expect(HUGGING_FACE, value.as_str(), "a string")?.to_string(),
            None => rebuilt(metadata)?.to_string(),
        };
        Ok(Self {
            tokenizer: Some(tokenizer),
            tokenizer_config: Some(tokenizer_config(metadata)?),
            chat_template,
            ..Self::default()
        })
    }

    /// Adds the tokenizer to the metadata of a GGUF file for a model of `vocabulary` tokens, but
    /// for special tokens that the metadata names already. Without a `tokenizer.json` only the
    /// chat template goes in.
    ///
    /// # Errors
    /// [`TextError::Unsupported`] for a tokenizer that is not byte-level BPE, or that splits text
    /// by a rule without a name in GGUF; [`TextError::TokenId`] for tokens that the model does not
    /// have; [`TextError::Json`].
    pub fn write_gguf(&self, metadata: &mut Metadata, vocabulary: usize) -> Result<(), TextError> {
        if let Some(template) = self.template()? {
            metadata.set(CHAT_TEMPLATE, Value::String(template));
        }
        let Some(text) = &self.tokenizer else {
            return Ok(());
        };
        let json = self.tokenizer_json()?;
        let model = &json["model"];
        let kind = model["type"].as_str().unwrap_or_default();
        if kind != "BPE" || json["decoder"]["type"] != "ByteLevel" {
            return Err(unsupported("a tokenizer of the kind", kind));
        }
        let (mut tokens, mut types) = (vec![None; vocabulary], vec![UNUSED; vocabulary]);
        let mut put = |token: &str, id: u64, kind: i32| -> Result<(), TextError> {
            let slot = usize::try_from(id).ok().filter(|&id| id < vocabulary);
            let slot = slot.ok_or_else(|| TextError::TokenId {
                token: token.to_string(),
                id,
                vocabulary,
            })?;
            (tokens[slot], types[slot]) = (Some(token.to_string()), kind);
            Ok(())
        };
        let vocab = model["vocab"].as_object().into_iter().flatten();
        for (token, id) in vocab {
            put(token, id.as_u64().unwrap_or(u64::MAX), NORMAL)?;
        }
        for added in json["added_tokens"].as_array().into_iter().flatten() {
            let kind = match added["special"].as_bool() {
                Some(true) => CONTROL,
                _ => USER_DEFINED,
            };
            let token = added["content"].as_str().unwrap_or_default();
            put(token, added["id"].as_u64().unwrap_or(u64::MAX), kind)?;
        }
        let named = tokens.into_iter().enumerate();
        let tokens = named
            .map(|(id, token)| token.unwrap_or_else(|| format!("[PAD{id}]")))
            .collect::<Vec<_>>();

        let config = self.tokenizer_config()?;
        let id_of = |token: Option<String>| {
            let token = token?;
            tokens.iter().position(|t| *t == token).map(|id| id as u32)
        };
        let special = SPECIAL.map(|(key, name)| (key, id_of(token_text(&config, name))));
        let adds_bos = adds_bos(&json["post_processor"]);
        metadata.set(MODEL, Value::String("gpt2".to_string()));
        metadata.set(PRE, Value::String(split_rule(&json)?.to_string()));
        metadata.set(TOKENS, Value::Array(Array::String(tokens)));
        metadata.set(TYPES, Value::Array(Array::I32(types)));
        metadata.set(MERGES, Value::Array(Array::String(merges(model))));
        for (key, id) in special {
            let Some(id) = id else { continue };
            match metadata.get(key).and_then(Value::as_u64) {
                None => metadata.set(key, Value::U32(id)),
                // The model's own configuration ends texts, the tokenizer's turns.
                Some(end) if key == END && end != u64::from(id) => {
                    metadata.set(END_OF_TURN, Value::U32(id));
                }
                Some(_) => {}
            }
        }
        metadata.set(ADD_BOS, Value::Bool(adds_bos));
        metadata.set(HUGGING_FACE, Value::String(text.clone()));
        Ok(())
    }
}

/// `tokenizer.json` out of tokens, types and merges.
fn rebuilt(metadata: &Metadata) -> Result<Json, TextError> {
    let kind = metadata.get(MODEL).and_then(Value::as_str);
    if kind != Some("gpt2") {
        return Err(unsupported(
            "a GGUF tokenizer of the kind",
            kind.unwrap_or_default(),
        ));
    }
    let tokens = strings(metadata, TOKENS)?;
    let merges = strings(metadata, MERGES)?;
    let types = match metadata.get(TYPES) {
        None => vec![NORMAL; tokens.len()],
        Some(value) => match value.as_array() {
            Some(Array::I32(types)) if types.len() == tokens.len() => types.clone(),
            _ => return expect(TYPES, None, "one i32 per token"),
        },
    };
    let pre = match metadata.get(PRE).and_then(Value::as_str) {
        Some("llama-bpe" | "llama3" | "llama-v3") => LLAMA_3,
        Some("gpt-2") => GPT_2,
        Some(other) => return Err(unsupported("the splitting rule", other)),
        None => {
            // BitNet's own converter names none.
            let guess = match tokens.len() == LLAMA_3_VOCABULARY {
                true => LLAMA_3,
                false => GPT_2,
            };
            tracing::warn!("the GGUF file does not say how to split text ({PRE}): taking {guess}");
            guess
        }
    };
    let mut vocab = Map::new();
    let mut added = Vec::new();
    for (id, (token, kind)) in tokens.iter().zip(&types).enumerate() {
        if vocab.insert(token.clone(), json!(id)).is_some() {
            return expect(TOKENS, None, "tokens that are all different");
        }
        if matches!(*kind, CONTROL | USER_DEFINED) {
            added.push(json!({
                "id": id, "content": token, "special": *kind == CONTROL, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false,
            }));
        }
    }
    let bos = token_of(metadata, SPECIAL[0].0, tokens)?;
    let add_bos = metadata.get(ADD_BOS).and_then(Value::as_bool);
    let byte_level = |use_regex: bool| {
        json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": use_regex,
        })
    };
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": match pre {
            LLAMA_3 => json!({ "type": "Sequence", "pretokenizers": [
                {
                    "type": "Split", "pattern": { "Regex": LLAMA_3_SPLIT },
                    "behavior": "Isolated", "invert": false,
                },
                byte_level(false),
            ]}),
            _ => byte_level(true),
        },
        "post_processor": bos.filter(|_| add_bos.unwrap_or(pre == LLAMA_3)).map(|(id, bos)| json!({
            "type": "TemplateProcessing",
            "single": [
                { "SpecialToken": { "id": bos, "type_id": 0 } },
                { "Sequence": { "id": "A", "type_id": 0 } },
            ],
            "pair": [
                { "SpecialToken": { "id": bos, "type_id": 0 } },
                { "Sequence": { "id": "A", "type_id": 0 } },
                { "SpecialToken": { "id": bos, "type_id": 1 } },
                { "Sequence": { "id": "B", "type_id": 1 } },
            ],
            "special_tokens": { bos: { "id": bos, "ids": [id], "tokens": [bos] } },
        })),
        "decoder": byte_level(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": pre == LLAMA_3, "vocab": vocab, "merges": merges,
        },
    }))
}

/// `tokenizer_config.json` with the special tokens.
fn tokenizer_config(metadata: &Metadata) -> Result<String, TextError> {
    let mut config = json!({ "tokenizer_class": "PreTrainedTokenizerFast" });
    if metadata.get(TOKENS).is_some() {
        let tokens = strings(metadata, TOKENS)?;
        for (key, name) in SPECIAL {
            if let Some((_, token)) = token_of(metadata, key, tokens)? {
                config[name] = json!(token);
            }
        }
        if let Some(token) = end_of_turn(metadata, tokens)? {
            config["eos_token"] = json!(token);
        }
    }
    let text = serde_json::to_string_pretty(&config).map_err(TextError::json("metadata"))?;
    Ok(text + "\n")
}

/// The token that ends a turn: the one that the file names, else one whose name says it.
fn end_of_turn<'a>(
    metadata: &Metadata,
    tokens: &'a [String],
) -> Result<Option<&'a str>, TextError> {
    if let Some((_, token)) = token_of(metadata, END_OF_TURN, tokens)? {
        return Ok(Some(token));
    }
    let types = match metadata.get(TYPES).and_then(Value::as_array) {
        Some(Array::I32(types)) => types.as_slice(),
        _ => &[],
    };
    let control = |name: &&str| {
        let mut typed = tokens.iter().zip(types);
        typed.any(|(token, &kind)| token == name && kind == CONTROL)
    };
    Ok(TURN_ENDS.into_iter().find(control))
}

/// Id and text of a special token, `None` if the file names none.
fn token_of<'a>(
    metadata: &Metadata,
    key: &str,
    tokens: &'a [String],
) -> Result<Option<(u64, &'a str)>, TextError> {
    let Some(value) = metadata.get(key) else {
        return Ok(None);
    };
    let id = expect(key, value.as_u64(), "a token id")?;
    let token = usize::try_from(id).ok().and_then(|id| tokens.get(id));
    Ok(Some((id, expect(key, token, "the id of a token")?)))
}

fn strings<'a>(metadata: &'a Metadata, key: &str) -> Result<&'a [String], TextError> {
    match metadata.get(key).and_then(Value::as_array) {
        Some(Array::String(strings)) => Ok(strings),
        _ => expect(key, None, "a list of strings"),
    }
}

/// The name that GGUF has for how a tokenizer splits text.
fn split_rule(tokenizer: &Json) -> Result<&'static str, TextError> {
    let plain_gpt_2 = |step: &Json| step["type"] == "ByteLevel" && step["use_regex"] != false;
    let pre = &tokenizer["pre_tokenizer"];
    if plain_gpt_2(pre) {
        return Ok(GPT_2);
    }
    if let Some([split, bytes]) = pre["pretokenizers"].as_array().map(Vec::as_slice)
        && split["pattern"]["Regex"] == LLAMA_3_SPLIT
        && bytes["type"] == "ByteLevel"
        && bytes["use_regex"] == false
    {
        return Ok(LLAMA_3);
    }
    Err(unsupported("the splitting rule", &pre.to_string()))
}

/// Merges as GGUF has them, two tokens with a blank between. Newer files of Hugging Face have
/// pairs.
fn merges(model: &Json) -> Vec<String> {
    let merge = |merge: &Json| match merge.as_array() {
        Some(pair) => {
            let parts: Vec<&str> = pair.iter().filter_map(Json::as_str).collect();
            parts.join(" ")
        }
        None => merge.as_str().unwrap_or_default().to_string(),
    };
    model["merges"]
        .as_array()
        .into_iter()
        .flatten()
        .map(merge)
        .collect()
}

/// Whether a post-processor, or one of a sequence of them, puts a token in front.
fn adds_bos(processor: &Json) -> bool {
    match processor["type"].as_str() {
        Some("TemplateProcessing") => !processor["single"][0]["SpecialToken"].is_null(),
        Some("Sequence") => {
            let steps = processor["processors"].as_array();
            steps.into_iter().flatten().any(adds_bos)
        }
        _ => false,
    }
}

fn unsupported(what: &'static str, found: &str) -> TextError {
    TextError::Unsupported {
        what,
        found: found.to_string(),
    }
}

fn expect<T>(key: &str, value: Option<T>, expected: &'static str) -> Result<T, TextError> {
    value.ok_or_else(|| TextError::Metadata {
        key: key.to_string(),
        expected,
    })
}
