//! Text that spells special tokens without meaning them.
//!
//! What a user types must not end turns or begin others. A mark inside of the special tokens that a
//! text spells keeps them from being read as such, whatever a chat template does with the text before
//! it is encoded; the normaliser of a second tokenizer takes the marks out behind the place where
//! special tokens are looked for.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{TextError, Tokenizer};

/// The mark: a code point that Unicode sets aside for a program's own use, never for text.
const MARK: char = '\u{FDD0}';

/// `text` with a mark behind the first character of every token that it spells.
pub(super) fn mark<'a>(text: &'a str, tokens: &[String]) -> Cow<'a, str> {
    let mut places = BTreeSet::new();
    for token in tokens {
        let Some(first) = token.chars().next() else {
            continue;
        };
        let mut start = 0;
        // They may overlap.
        while let Some(found) = text[start..].find(token.as_str()) {
            start += found + first.len_utf8();
            places.insert(start);
        }
    }
    if places.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut marked = String::with_capacity(text.len() + MARK.len_utf8() * places.len());
    let mut start = 0;
    for place in places {
        marked.push_str(&text[start..place]);
        marked.push(MARK);
        start = place;
    }
    Cow::Owned(marked + &text[start..])
}

pub(super) fn is_marked(text: &str) -> bool {
    text.contains(MARK)
}

/// The tokenizer that reads marked text.
pub(super) fn reader(tokenizer: &Tokenizer) -> Result<tokenizers::Tokenizer, TextError> {
    let mut tokenizer = tokenizer.to_json()?;
    // One that is looked for behind the normaliser would be found in spite of its mark.
    for token in tokenizer["added_tokens"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        if token["special"] == true {
            token["normalized"] = json!(false);
        }
    }
    let unmark = json!({ "type": "Replace", "pattern": { "String": MARK }, "content": "" });
    let normalizer = match tokenizer["normalizer"].take() {
        Value::Null => unmark,
        own => json!({ "type": "Sequence", "normalizers": [unmark, own] }),
    };
    tokenizer["normalizer"] = normalizer;
    tokenizers::Tokenizer::from_bytes(tokenizer.to_string()).map_err(TextError::Tokenizer)
}

impl Tokenizer {
    /// `text` marked so that the special tokens that it spells are not read as such by
    /// [`encode_rendered`](Self::encode_rendered) when a chat template has put it into a prompt. Most
    /// texts spell none, and stay as they are.
    pub fn guard<'a>(&self, text: &'a str) -> Cow<'a, str> {
        mark(text, self.special_tokens())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_marked_once_even_where_they_overlap() {
        let tokens = ["<|a|>", "|>x", "aa"].map(String::from);
        let marked = |text: &str| mark(text, &tokens).replace(MARK, "^");
        assert_eq!(marked("<|a|>x"), "<^|a|^>x");
        assert_eq!(marked("aaa<|a|>"), "a^a^a<^|a|>");
        assert!(matches!(mark("<|b|>", &tokens), Cow::Borrowed("<|b|>")));
    }
}
