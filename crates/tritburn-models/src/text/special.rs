//! Special tokens, which several files name.

use std::collections::BTreeMap;

use serde_json::Value;
use tokenizers::AddedToken;

use super::files::parse;
use super::{TextError, TokenizerFiles};

/// Names of the special tokens that stand alone.
const NAMES: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];
/// A list of more, in older and newer files.
const LISTS: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];
/// The tokens beside the vocabulary, by id.
const DECODER: &str = "added_tokens_decoder";

impl TokenizerFiles {
    /// `tokenizer_config.json` with the special tokens of `special_tokens_map.json`, read as
    /// transformers reads them: a configuration that lists all added tokens has the last word, the map
    /// has it else.
    pub(super) fn special_tokens(&self) -> Result<Value, TextError> {
        let mut config = self.tokenizer_config()?;
        let map: Value = parse(&self.special_tokens_map, "special_tokens_map.json")?;
        let Value::Object(map) = map else {
            return Ok(config);
        };
        if !config.is_object() {
            config = Value::Object(Default::default());
        }
        let complete = config[DECODER].is_object();
        for (name, token) in map {
            if !complete || config[&name].is_null() {
                config[&name] = token;
            }
        }
        Ok(config)
    }

    /// The tokens beside the vocabulary that other files than `tokenizer.json` name, by id.
    pub(super) fn added_tokens(&self) -> Result<BTreeMap<u32, AddedToken>, TextError> {
        let config = self.special_tokens()?;
        if let Some(listed) = config[DECODER].as_object() {
            let token = |(id, token): (&String, &Value)| {
                let flag = |name: &str| token[name].as_bool();
                let special = flag("special").unwrap_or(false);
                let added = AddedToken::from(token["content"].as_str()?, special)
                    .single_word(flag("single_word").unwrap_or(false))
                    .lstrip(flag("lstrip").unwrap_or(false))
                    .rstrip(flag("rstrip").unwrap_or(false))
                    .normalized(flag("normalized").unwrap_or(!special));
                Some((id.parse().ok()?, added))
            };
            return Ok(listed.iter().filter_map(token).collect());
        }
        let ids: Value = parse(&self.added_tokens, "added_tokens.json")?;
        let special: Vec<String> = special_texts(&config).collect();
        let token = |(text, id): (&String, &Value)| {
            let id = id.as_u64()?.try_into().ok()?;
            Some((id, AddedToken::from(text.as_str(), special.contains(text))))
        };
        Ok(ids
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(token)
            .collect())
    }
}

/// Gives `tokenizer` what its own file lacks: tokens that other files add, and that special ones are
/// special.
pub(super) fn complete(
    tokenizer: &mut tokenizers::Tokenizer,
    files: &TokenizerFiles,
) -> Result<(), TextError> {
    for (id, token) in files.added_tokens()? {
        if is_added(tokenizer, &token.content) {
            continue;
        }
        let text = token.content.clone();
        let added = match token.special {
            true => tokenizer.add_special_tokens([token]),
            false => tokenizer.add_tokens([token]),
        };
        added.map_err(TextError::Tokenizer)?;
        let found = tokenizer.token_to_id(&text);
        if found != Some(id) {
            return Err(TextError::AddedToken {
                token: text,
                id,
                found,
            });
        }
    }
    let config = files.special_tokens()?;
    for text in special_texts(&config) {
        // One that no id stands for can be neither read nor written.
        if tokenizer.token_to_id(&text).is_some() && !is_added(tokenizer, &text) {
            let token = AddedToken::from(text, true);
            tokenizer
                .add_special_tokens([token])
                .map_err(TextError::Tokenizer)?;
        }
    }
    Ok(())
}

fn is_added(tokenizer: &tokenizers::Tokenizer, token: &str) -> bool {
    let added = tokenizer.get_added_vocabulary();
    added.get_vocab().contains_key(token)
}

/// The text of a special token: a string, or an object with its content.
pub(super) fn token_text(config: &Value, name: &str) -> Option<String> {
    text_of(&config[name])
}

fn text_of(token: &Value) -> Option<String> {
    let text = token.as_str().or_else(|| token["content"].as_str())?;
    Some(text.to_string())
}

fn special_texts(config: &Value) -> impl Iterator<Item = String> {
    let single = NAMES.into_iter().map(|name| &config[name]);
    let lists = LISTS.into_iter().filter_map(|name| config[name].as_array());
    let texts = single.chain(lists.flatten()).filter_map(text_of);
    texts.filter(|text| !text.is_empty())
}
