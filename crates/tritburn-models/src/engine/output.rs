//! The text of a choice, and the stop texts in it.

use crate::text::{StreamDecoder, TextError, Tokenizer};

/// Text that grows token by token, up to the first stop text that becomes whole.
pub(super) struct TextOutput<'t> {
    decoder: Option<StreamDecoder<'t>>,
    stops: Vec<String>,
    /// The end of the text so far, which may be the beginning of a stop text.
    held: String,
}

impl<'t> TextOutput<'t> {
    pub fn new(tokenizer: &'t Tokenizer, stops: &[String]) -> Self {
        Self {
            decoder: Some(tokenizer.stream()),
            stops: stops.to_vec(),
            held: String::new(),
        }
    }

    /// Takes a token: the text that is certain now, and the stop text that ends it.
    pub fn push(&mut self, id: u32) -> Result<(String, Option<String>), TextError> {
        let Some(decoder) = &mut self.decoder else {
            return Ok((String::new(), None));
        };
        let new = decoder.push(id)?.unwrap_or_default();
        Ok(self.take(&new))
    }

    /// What is held back still.
    pub fn finish(&mut self) -> Result<String, TextError> {
        let Some(decoder) = self.decoder.take() else {
            return Ok(String::new());
        };
        let new = decoder.finish()?.unwrap_or_default();
        let (mut text, stop) = self.take(&new);
        if stop.is_none() {
            text.push_str(&self.held);
        }
        Ok(text)
    }

    fn take(&mut self, new: &str) -> (String, Option<String>) {
        self.held.push_str(new);
        // The one that is whole first, as if characters came one by one; of several the longest.
        let found = self.stops.iter().filter_map(|stop| {
            let start = self.held.find(stop.as_str())?;
            Some((start + stop.len(), start, stop))
        });
        if let Some((_, start, stop)) = found.min_by_key(|&(end, start, _)| (end, start)) {
            let stop = stop.clone();
            self.held.truncate(start);
            self.decoder = None;
            return (std::mem::take(&mut self.held), Some(stop));
        }
        let partial = |stop: &String| {
            let mut ends = stop.char_indices().map(|(end, _)| end).rev();
            ends.find(|&end| self.held.ends_with(&stop[..end]))
        };
        let held = self.stops.iter().filter_map(partial).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - held);
        (std::mem::replace(&mut self.held, rest), None)
    }
}
