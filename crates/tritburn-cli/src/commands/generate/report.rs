//! What a generation took.

use std::fmt;

use anyhow::Result;
use serde::Serialize;
use tritburn_models::generate::Generation;
use tritburn_models::text::Tokenizer;

use crate::memory::human;

/// Result of `generate --json`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// All ids, the prompt's first.
    ids: Vec<u32>,
    /// The new tokens as text; null without a tokenizer.
    text: Option<String>,
    prompt_tokens: usize,
    new_tokens: usize,
    prompt_tokens_per_s: Option<f64>,
    decode_tokens_per_s: Option<f64>,
    peak_bytes: Option<u64>,
}

impl Report {
    pub fn new(
        prompt: &[u32],
        generation: &Generation,
        tokenizer: Option<&Tokenizer>,
        peak_bytes: Option<u64>,
    ) -> Result<Self> {
        let new = &generation.ids[0];
        Ok(Self {
            ids: [prompt, new].concat(),
            text: tokenizer.map(|t| streamed(t, new)).transpose()?,
            prompt_tokens: prompt.len(),
            new_tokens: new.len(),
            prompt_tokens_per_s: generation.prompt_tokens_per_second(),
            decode_tokens_per_s: generation.decode_tokens_per_second(),
            peak_bytes,
        })
    }
}

/// The text of `ids` as it is printed token by token.
fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> Result<String> {
    let mut stream = tokenizer.stream();
    let mut text = String::new();
    for &id in ids {
        text.extend(stream.push(id)?);
    }
    text.extend(stream.finish()?);
    Ok(text)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = |rate: Option<f64>| rate.map_or("-".into(), |rate| format!("{rate:.1}"));
        write!(
            f,
            "prompt: {} tokens, {} tokens/s; decode: {} tokens, {} tokens/s",
            self.prompt_tokens,
            rate(self.prompt_tokens_per_s),
            self.new_tokens,
            rate(self.decode_tokens_per_s),
        )?;
        match self.peak_bytes {
            Some(bytes) => write!(f, "; memory: {}", human(bytes)),
            None => Ok(()),
        }
    }
}
