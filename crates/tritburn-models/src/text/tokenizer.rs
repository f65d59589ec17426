//! `tokenizer.json`, by the `tokenizers` library.

use std::sync::OnceLock;

use super::special::{complete, token_text};
use super::{StreamDecoder, TextError, TokenizerFiles, guard};

/// Turns text into token ids and back.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Reads text that spells special tokens; few texts need it.
    guarded: OnceLock<Box<tokenizers::Tokenizer>>,
    special: Vec<String>,
    bos: Option<String>,
    eos: Option<String>,
}

impl Tokenizer {
    /// The tokenizer of a checkpoint. Padding and truncation, which a file may have been saved with,
    /// are off.
    ///
    /// # Errors
    /// [`TextError::Missing`] without a `tokenizer.json`, [`TextError::Json`] or
    /// [`TextError::Tokenizer`] for one that cannot be read, [`TextError::AddedToken`] where other
    /// files contradict it.
    pub fn from_files(files: &TokenizerFiles) -> Result<Self, TextError> {
        let Some(text) = &files.tokenizer else {
            return Err(TextError::Missing { what: "tokenizer" });
        };
        let mut inner = tokenizers::Tokenizer::from_bytes(text).map_err(TextError::Tokenizer)?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(TextError::Tokenizer)?;
        complete(&mut inner, files)?;
        let config = files.special_tokens()?;
        let added = inner.get_added_tokens_decoder();
        let special = added.values().filter(|token| token.special);
        Ok(Self {
            special: special.map(|token| token.content.clone()).collect(),
            guarded: OnceLock::new(),
            inner,
            bos: token_text(&config, "bos_token"),
            eos: token_text(&config, "eos_token"),
        })
    }

    /// The ids of `text`, with the special tokens that the tokenizer puts around a prompt. Special
    /// tokens that `text` spells are read as such: see [`encode_text`](Self::encode_text).
    ///
    /// # Errors
    /// [`TextError::Tokenizer`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TextError> {
        self.encode_as(text, true)
    }

    /// The ids of `text`, with the special tokens that the tokenizer puts around a prompt, and none
    /// within: what a text spells is text.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`].
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>, TextError> {
        self.encode_as(&self.guard(text), true)
    }

    /// The ids of `text` and nothing else: for a rendered [`ChatTemplate`](super::ChatTemplate),
    /// which spells its special tokens out. Those of messages are text if they were
    /// [guarded](Self::guard).
    ///
    /// # Errors
    /// [`TextError::Tokenizer`].
    pub fn encode_rendered(&self, text: &str) -> Result<Vec<u32>, TextError> {
        self.encode_as(text, false)
    }

    fn encode_as(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, TextError> {
        let tokenizer = match guard::is_marked(text) {
            true => self.guarded()?,
            false => &self.inner,
        };
        let encoding = tokenizer.encode_fast(text, add_special_tokens);
        Ok(encoding.map_err(TextError::Tokenizer)?.get_ids().to_vec())
    }

    /// The whole tokenizer as `tokenizer.json` has it.
    pub(crate) fn to_json(&self) -> Result<serde_json::Value, TextError> {
        let text = self.inner.to_string(false).map_err(TextError::Tokenizer)?;
        serde_json::from_str(&text).map_err(TextError::json("tokenizer.json"))
    }

    /// The library's tokenizer.
    pub(super) fn inner(&self) -> &tokenizers::Tokenizer {
        &self.inner
    }

    fn guarded(&self) -> Result<&tokenizers::Tokenizer, TextError> {
        if self.guarded.get().is_none() {
            // Another thread may have been quicker, with the same.
            let _ = self.guarded.set(Box::new(guard::reader(self)?));
        }
        Ok(self.guarded.get().map_or(&self.inner, |guarded| guarded))
    }

    /// The texts of all special tokens.
    pub(super) fn special_tokens(&self) -> &[String] {
        &self.special
    }

    /// The text of `ids`, special tokens left out. Unknown ids are passed over, bytes that are not
    /// UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`].
    pub fn decode(&self, ids: &[u32]) -> Result<String, TextError> {
        self.inner.decode(ids, true).map_err(TextError::Tokenizer)
    }

    /// Decodes a sequence while it grows.
    pub fn stream(&self) -> StreamDecoder<'_> {
        StreamDecoder::new(self)
    }

    /// The text of one id, special or not.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The id of one token's text.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Number of tokens, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Number of entries that a table by id needs: more than [`vocab_size`](Self::vocab_size) where ids
    /// have gaps.
    pub fn id_count(&self) -> usize {
        let ids = self.inner.get_vocab(true).into_values();
        ids.max().map_or(0, |largest| largest as usize + 1)
    }

    /// Text of the token that begins a sequence.
    pub fn bos_token(&self) -> Option<&str> {
        self.bos.as_deref()
    }

    /// Text of the token that ends a sequence, or a turn of a chat.
    pub fn eos_token(&self) -> Option<&str> {
        self.eos.as_deref()
    }
}
