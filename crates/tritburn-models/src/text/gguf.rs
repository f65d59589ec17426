//! Tokenizers in GGUF metadata, both ways.
//!
//! GGUF knows byte-level BPE as the model `gpt2`: tokens by id, their types, merges, and under
//! `tokenizer.ggml.pre` the name of the rule that splits text first. SentencePiece is the model `llama`:
//! tokens with scores and types; it is read only. What such a file cannot say
//! (normalisers, other post-processing) is kept by `tokenizer.huggingface.json`, an entry of the
//! GGUF specification that holds the whole `tokenizer.json`; it is written always and preferred
//! when reading.

pub(super) mod split;
pub(super) mod spm;

use serde_json::{Map, Value as Json, json};
use tritburn_formats::file::gguf::{Array, Metadata, Value};

use self::split::{DEFAULT, Rule, byte_level};
use self::spm::{Kind, Piece, Prompt};
use super::special::token_text;
use super::{TextError, TokenizerFiles};

/// Kind of the tokenizer.
pub(crate) const MODEL: &str = "tokenizer.ggml.model";
/// The kind of none.
pub(crate) const NO_VOCABULARY: &str = "no_vocab";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";
const SCORES: &str = "tokenizer.ggml.scores";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
const ADD_BLANK: &str = "tokenizer.ggml.add_space_prefix";
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

/// Size of Llama 3's vocabulary, by which a file that names no splitting rule is told.
const LLAMA_3_VOCABULARY: usize = 128_256;

impl TokenizerFiles {
    /// The tokenizer of a GGUF file: its `tokenizer.huggingface.json`, or one made of tokens and
    /// merges. Empty if the file has none.
    ///
    /// # Errors
    /// [`TextError::Unsupported`] for tokenizers that are neither byte-level BPE (`gpt2`) nor
    /// SentencePiece's (`llama`), [`TextError::Metadata`] for damaged entries.
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
        let pre = &json["pre_tokenizer"];
        let rule =
            Rule::of(&json).ok_or_else(|| unsupported("the splitting rule", &pre.to_string()))?;
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

        let config = self.special_tokens()?;
        let id_of = |token: Option<String>| {
            let token = token?;
            tokens.iter().position(|t| *t == token).map(|id| id as u32)
        };
        let special = SPECIAL.map(|(key, name)| (key, id_of(token_text(&config, name))));
        let adds_bos = adds_bos(&json["post_processor"]);
        metadata.set(MODEL, Value::String("gpt2".to_string()));
        metadata.set(PRE, Value::String(rule.name().to_string()));
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

/// `tokenizer.json` out of what there is instead.
fn rebuilt(metadata: &Metadata) -> Result<Json, TextError> {
    match metadata.get(MODEL).and_then(Value::as_str) {
        Some("gpt2") => byte_level_bpe(metadata),
        Some("llama") => sentencepiece(metadata),
        kind => Err(unsupported(
            "a GGUF tokenizer of the kind",
            kind.unwrap_or_default(),
        )),
    }
}

/// `tokenizer.json` out of pieces, scores and types. What the file does not say is as in Llama 2.
fn sentencepiece(metadata: &Metadata) -> Result<Json, TextError> {
    let tokens = strings(metadata, TOKENS)?;
    let kinds = kinds(metadata, tokens.len())?;
    let scores: Vec<f32> = match metadata.get(SCORES).and_then(Value::as_array) {
        Some(Array::F32(scores)) => scores.clone(),
        Some(Array::F64(scores)) => scores.iter().map(|&score| score as f32).collect(),
        _ => return expect(SCORES, None, "one float per token"),
    };
    if scores.len() != tokens.len() {
        return expect(SCORES, None, "one float per token");
    }
    let pieces = tokens.iter().zip(scores).zip(kinds);
    let pieces: Vec<Piece> = pieces
        .map(|((text, score), kind)| Piece {
            text: text.clone(),
            score,
            kind,
        })
        .collect();
    let flag = |key: &str, default: bool| {
        let value = metadata.get(key).and_then(Value::as_bool);
        value.unwrap_or(default)
    };
    let id = |key: &str, default: u32| -> Result<Option<u32>, TextError> {
        let named = token_of(metadata, key, tokens)?.map(|(id, _)| id as u32);
        Ok(Some(named.unwrap_or(default)))
    };
    let bos = id(SPECIAL[0].0, 1)?;
    let eos = id(END, 2)?;
    let prompt = Prompt {
        blank: flag(ADD_BLANK, true),
        tidy: false,
        bos: bos.filter(|_| flag(ADD_BOS, true)),
        eos: eos.filter(|_| flag(ADD_EOS, false)),
    };
    spm::tokenizer(&pieces, prompt)
}

/// What each token is for, by types in integers of any width.
fn kinds(metadata: &Metadata, tokens: usize) -> Result<Vec<Kind>, TextError> {
    let Some(value) = metadata.get(TYPES) else {
        return Ok(vec![Kind::Normal; tokens]);
    };
    let numbers = value.as_array().and_then(integers);
    let numbers = numbers.filter(|numbers| numbers.len() == tokens);
    let numbers = expect(TYPES, numbers, "one integer per token")?;
    let kinds: Option<Vec<Kind>> = numbers.into_iter().map(Kind::of).collect();
    expect(TYPES, kinds, "types from 0 to 6")
}

/// The numbers of an array of integers of any width.
fn integers(array: &Array) -> Option<Vec<i64>> {
    fn wide<T: Copy + TryInto<i64>>(values: &[T]) -> Option<Vec<i64>> {
        values.iter().map(|&value| value.try_into().ok()).collect()
    }
    match array {
        Array::U8(values) => wide(values),
        Array::I8(values) => wide(values),
        Array::U16(values) => wide(values),
        Array::I16(values) => wide(values),
        Array::U32(values) => wide(values),
        Array::I32(values) => wide(values),
        Array::U64(values) => wide(values),
        Array::I64(values) => wide(values),
        _ => None,
    }
}

/// The rule that text is split by. One that is not known is not given up on: most text is split alike
/// by all of them.
fn rule(metadata: &Metadata, tokens: usize) -> &'static Rule {
    let named = metadata.get(PRE).and_then(Value::as_str);
    let name = match named {
        Some(name) => name,
        // BitNet's own converter names none.
        None if tokens == LLAMA_3_VOCABULARY => LLAMA_3,
        None => GPT_2,
    };
    let rule = Rule::named(name);
    match (named, rule) {
        (Some(_), Some(_)) => {}
        (None, _) => {
            tracing::warn!("the GGUF file does not say how to split text ({PRE}): taking {name}")
        }
        (Some(name), None) => {
            tracing::warn!("how {name:?} splits text ({PRE}) is not known: taking {DEFAULT}")
        }
    }
    rule.or_else(|| Rule::named(DEFAULT))
        .unwrap_or(&split::PLAIN)
}

/// `tokenizer.json` out of tokens, types and merges.
fn byte_level_bpe(metadata: &Metadata) -> Result<Json, TextError> {
    let tokens = strings(metadata, TOKENS)?;
    let merges = strings(metadata, MERGES)?;
    let kinds = kinds(metadata, tokens.len())?;
    let rule = rule(metadata, tokens.len());
    let mut vocab = Map::new();
    let mut added = Vec::new();
    for (id, (token, kind)) in tokens.iter().zip(kinds).enumerate() {
        if vocab.insert(token.clone(), json!(id)).is_some() {
            return expect(TOKENS, None, "tokens that are all different");
        }
        if matches!(kind, Kind::Control | Kind::UserDefined) {
            added.push(json!({
                "id": id, "content": token, "special": kind == Kind::Control, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false,
            }));
        }
    }
    let token = |key: &str, add: &str, default: bool| -> Result<Option<(u32, &str)>, TextError> {
        let add = metadata.get(add).and_then(Value::as_bool);
        let token = token_of(metadata, key, tokens)?.filter(|_| add.unwrap_or(default));
        Ok(token.map(|(id, text)| (id as u32, text)))
    };
    let bos = token(SPECIAL[0].0, ADD_BOS, rule.adds_bos)?;
    let eos = token(END, ADD_EOS, false)?;
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": rule.composes.then(|| json!({ "type": "NFC" })),
        "pre_tokenizer": rule.pre_tokenizer(),
        "post_processor": spm::around(bos, eos),
        "decoder": byte_level(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": rule.whole_pieces, "vocab": vocab, "merges": merges,
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
    let types = metadata.get(TYPES).and_then(Value::as_array);
    let types = types.and_then(integers).unwrap_or_default();
    let control = |name: &&str| {
        let mut typed = tokens.iter().zip(&types);
        typed.any(|(token, &kind)| token == name && kind == i64::from(CONTROL))
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
