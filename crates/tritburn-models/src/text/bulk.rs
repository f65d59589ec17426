//! Text in bulk: what was tokenised before is looked up.

use std::cell::RefCell;
use std::collections::HashMap;

use aho_corasick::AhoCorasick;
use serde_json::{Value, json};
use thread_local::ThreadLocal;
use tokenizers::NormalizerWrapper;

use super::gguf::split::{GPT_2, LLAMA_3, QWEN_2, QWEN_35};
use super::{TextError, Tokenizer, guard};

/// Pieces that a thread remembers at most: some 30 MB.
const REMEMBERED: usize = 1 << 18;

/// The longest piece that is remembered, in bytes. Longer ones hardly occur twice.
const LONGEST: usize = 32;

/// The expressions whose matches end where a piece does. No match goes on behind an ASCII letter with an
/// ASCII character that is none, and none looks at what is before it.
const EXPRESSIONS: [&str; 4] = [GPT_2, LLAMA_3, QWEN_2, QWEN_35];

/// Tokenises much text with several threads, to the ids of
/// [`Tokenizer::encode_rendered`](super::Tokenizer::encode_rendered).
///
/// A byte-level tokenizer cuts text into words before it merges bytes. Text is cut here at some of those
/// places, and pieces that a thread has met before are not tokenised again. Tokenizers of other kinds, and
/// texts that spell one of the added tokens, are left to the library.
///
/// # Examples
/// ```
/// use tritburn_models::text::{BulkEncoder, Tokenizer, TokenizerFiles};
///
/// let files = TokenizerFiles::train_bpe(["one two two one"].iter(), 260)?;
/// let encoder = BulkEncoder::new(Tokenizer::from_files(&files)?)?;
/// let ids = encoder.encode("two, one")?;
/// assert_eq!(ids, encoder.tokenizer().encode_rendered("two, one")?);
/// # Ok::<(), tritburn_models::text::TextError>(())
/// ```
#[derive(Debug)]
pub struct BulkEncoder {
    tokenizer: Tokenizer,
    /// `None` for a tokenizer that does not cut text where pieces end.
    pieces: Option<Pieces>,
}

/// Ids of the pieces that one thread has met.
type Known = HashMap<Box<str>, Box<[u32]>>;

/// What there is to know of a tokenizer that takes text in pieces.
#[derive(Debug)]
struct Pieces {
    /// Finds the tokens that are taken out of a text before it is cut.
    added: AhoCorasick,
    /// Whether other text than ASCII changes before it is cut.
    normalized: bool,
    known: ThreadLocal<RefCell<Known>>,
}

impl BulkEncoder {
    /// An encoder that remembers nothing yet.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] if the added tokens cannot be searched for.
    pub fn new(tokenizer: Tokenizer) -> Result<Self, TextError> {
        let inner = tokenizer.inner();
        let normalized = match inner.get_normalizer() {
            None => Some(false),
            // It leaves ASCII as it is.
            Some(NormalizerWrapper::NFC(_)) => Some(true),
            Some(_) => None,
        };
        let pre_tokenizer = serde_json::to_value(inner.get_pre_tokenizer());
        let pieces = match normalized {
            Some(normalized) if pre_tokenizer.is_ok_and(|json| ends_pieces(&json)) => {
                let added = inner.get_added_tokens_decoder();
                let added = AhoCorasick::new(added.values().map(|token| &token.content));
                Some(Pieces {
                    added: added.map_err(|error| TextError::Tokenizer(error.into()))?,
                    normalized,
                    known: ThreadLocal::new(),
                })
            }
            _ => None,
        };
        Ok(Self { tokenizer, pieces })
    }

    /// The tokenizer that decides the ids.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The ids of `text` and nothing else; special tokens that it spells are read as such.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TextError> {
        let Some(pieces) = self.pieces.as_ref().filter(|pieces| pieces.take(text)) else {
            return self.tokenizer.encode_rendered(text);
        };
        let mut known = pieces.known.get_or_default().borrow_mut();
        let mut ids = Vec::with_capacity(text.len() / 3);
        for piece in cut(text) {
            if let Some(found) = known.get(piece) {
                ids.extend_from_slice(found);
                continue;
            }
            let new = self.tokenizer.encode_rendered(piece)?;
            ids.extend_from_slice(&new);
            if piece.len() <= LONGEST && known.len() < REMEMBERED {
                known.insert(piece.into(), new.into());
            }
        }
        Ok(ids)
    }
}

impl Pieces {
    /// Whether `text` is one that may be cut.
    fn take(&self, text: &str) -> bool {
        (!self.normalized || text.is_ascii())
            && !guard::is_marked(text)
            && !self.added.is_match(text)
    }
}

/// Whether a pre-tokenizer, as `tokenizer.json` has it, cuts text wherever [`cut`] does.
fn ends_pieces(pre_tokenizer: &Value) -> bool {
    let byte_level = |value: &Value, use_regex: bool| {
        value["type"] == "ByteLevel"
            && value["add_prefix_space"] == false
            && value["use_regex"] == use_regex
    };
    let split = |value: &Value| {
        let known = |expression: &str| value["pattern"] == json!({ "Regex": expression });
        value["type"] == "Split"
            && value["behavior"] == "Isolated"
            && value["invert"] == false
            && EXPRESSIONS.iter().any(|expression| known(expression))
    };
    match pre_tokenizer["pretokenizers"].as_array().map(Vec::as_slice) {
        Some([first, second]) => split(first) && byte_level(second, false),
        Some([only]) => byte_level(only, true),
        Some(_) => false,
        None => byte_level(pre_tokenizer, true),
    }
}

/// Parts of a text, cut behind every ASCII letter that another ASCII character follows which is none.
fn cut(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let ends = |pair: &[u8]| {
            pair[0].is_ascii_alphabetic() && pair[1].is_ascii() && !pair[1].is_ascii_alphabetic()
        };
        let end = rest.as_bytes().windows(2).position(ends);
        // Between two ASCII characters is a boundary of characters.
        let (piece, left) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
        rest = left;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::TokenizerFiles;

    const TEXT: &str = "We'll see: it's 12,345 words -- of text, isn't it?\n    let x_1 = f(a, &b);\t\t\n\n\
                        Größe, naïve cafe\u{301} x\u{301}y, 日本語abc def。K\u{212a}m 'S 'LL  two  spaces \n";

    fn trained() -> TokenizerFiles {
        TokenizerFiles::train_bpe([TEXT; 3].iter(), 400).unwrap()
    }

    /// A tokenizer with other parts before its merges.
    fn with(pre_tokenizer: Value, normalizer: Value) -> TokenizerFiles {
        let mut files = trained();
        let mut json: Value = serde_json::from_str(files.tokenizer.as_deref().unwrap()).unwrap();
        json["pre_tokenizer"] = pre_tokenizer;
        json["normalizer"] = normalizer;
        files.tokenizer = Some(json.to_string());
        files
    }

    fn split(expression: &str) -> Value {
        json!({ "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": expression }, "behavior": "Isolated", "invert": false },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
        ]})
    }

    fn encoder(files: &TokenizerFiles) -> BulkEncoder {
        BulkEncoder::new(Tokenizer::from_files(files).unwrap()).unwrap()
    }

    /// All that are taken in pieces.
    fn encoders() -> Vec<BulkEncoder> {
        let mut all = vec![encoder(&trained())];
        for expression in EXPRESSIONS {
            all.push(encoder(&with(split(expression), Value::Null)));
            all.push(encoder(&with(split(expression), json!({ "type": "NFC" }))));
        }
        assert!(all.iter().all(|encoder| encoder.pieces.is_some()));
        all
    }

    #[test]
    fn pieces_end_behind_words_and_lose_nothing() {
        let pieces: Vec<&str> = cut("let x = foo(é, b1);\n").collect();
        assert_eq!(pieces, ["let", " x", " = foo", "(é, b", "1);\n"]);
        assert_eq!(cut("").count(), 0);
    }

    #[test]
    fn ids_are_those_of_the_library_at_first_and_remembered() {
        for encoder in encoders() {
            for text in [
                TEXT,
                TEXT,
                "",
                "<|endoftext|>",
                "a <|endoftext|> b",
                " ",
                "a",
            ] {
                let expected = encoder.tokenizer().encode_rendered(text).unwrap();
                assert_eq!(encoder.encode(text).unwrap(), expected, "{text:?}");
            }
        }
        let first = &encoders()[0];
        let end = first.tokenizer().token_to_id("<|endoftext|>").unwrap();
        assert!(first.encode("a <|endoftext|>").unwrap().contains(&end));
        assert!(first.pieces.as_ref().unwrap().known.get().is_none());
        first.encode("one two one two").unwrap();
        let known = first.pieces.as_ref().unwrap().known.get().unwrap();
        assert_eq!(known.borrow().len(), 3);
    }

    #[test]
    fn other_tokenizers_are_left_to_the_library() {
        let others = [
            with(
                json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": false }),
                Value::Null,
            ),
            with(
                json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true }),
                Value::Null,
            ),
            with(split(r"\p{L}+.|."), Value::Null),
            with(split(EXPRESSIONS[0]), json!({ "type": "Lowercase" })),
        ];
        for files in others {
            let encoder = encoder(&files);
            assert!(encoder.pieces.is_none());
            let expected = encoder.tokenizer().encode_rendered(TEXT).unwrap();
            assert_eq!(encoder.encode(TEXT).unwrap(), expected);
        }
    }

    proptest! {
        #[test]
        fn no_text_is_read_otherwise(text in "[a-cS'sltLÉé\u{301}\u{17f}\u{212a}0-9 \t\n\r.,;<|>_-]{0,60}") {
            for encoder in encoders() {
                let expected = encoder.tokenizer().encode_rendered(&text).unwrap();
                prop_assert_eq!(encoder.encode(&text).unwrap(), expected);
            }
        }
    }
}
