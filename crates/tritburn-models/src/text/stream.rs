//! Text of a sequence that grows token by token.

use super::{TextError, Tokenizer};

/// What a decoder writes for bytes that are not (yet) a character.
const REPLACEMENT: char = '\u{FFFD}';

/// Ids held back for a character to become complete, at most: one of four bytes may be four
/// tokens, and byte tokens of several such characters come out together.
const MAX_HELD: usize = 16;

/// Yields the text of ids as soon as it is complete: the parts put together are what decoding all
/// ids at once gives, and no part ends inside a character. Only bytes that never become one may be more
/// or fewer U+FFFD.
#[derive(Clone, Debug)]
pub struct StreamDecoder<'a> {
    tokenizer: &'a Tokenizer,
    /// The ids of the last part that was yielded, then those that are held back. The former are
    /// decoded again each time, because what a token becomes depends on the one before it.
    window: Vec<u32>,
    /// How many ids of the window have been yielded.
    yielded: usize,
}

impl<'a> StreamDecoder<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> Self {
        Self {
            tokenizer,
            window: Vec::new(),
            yielded: 0,
        }
    }

    /// Takes the next id. `None` while text is held back, or where the id has none (special
    /// tokens).
    ///
    /// # Errors
    /// [`TextError::Tokenizer`].
    pub fn push(&mut self, id: u32) -> Result<Option<String>, TextError> {
        self.window.push(id);
        let text = self.tokenizer.decode(&self.window)?;
        let held = self.window.len() - self.yielded;
        if text.ends_with(REPLACEMENT) && held < MAX_HELD {
            return Ok(None);
        }
        self.take(text)
    }

    /// What is still held back: the text of an unfinished character, U+FFFD, or nothing.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`].
    pub fn finish(mut self) -> Result<Option<String>, TextError> {
        let text = self.tokenizer.decode(&self.window)?;
        self.take(text)
    }

    fn take(&mut self, text: String) -> Result<Option<String>, TextError> {
        let before = self.tokenizer.decode(&self.window[..self.yielded])?;
        let new = match text.strip_prefix(&before) {
            Some(new) => new.to_string(),
            // Bytes that were a character are none with those behind them. What was yielded stays.
            None => self.tokenizer.decode(&self.window[self.yielded..])?,
        };
        if new.is_empty() {
            return Ok(None);
        }
        self.window.drain(..self.yielded);
        self.yielded = self.window.len();
        Ok(Some(new))
    }
}
