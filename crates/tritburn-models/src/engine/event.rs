//! What an engine says about a request.

use std::time::{Duration, Instant};

use super::Failure;

/// Something that happened to a request.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A new token.
    Token(Token),
    /// A choice came to its end; nothing more is said about it.
    Finished(Finished),
}

/// A new token of a choice.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Token {
    /// The choice, from 0.
    pub choice: usize,
    /// The id.
    pub id: u32,
    /// Text that has become certain. Empty while it is held back: inside of a character, or of what may
    /// become a stop text. Empty for an engine without a tokenizer.
    pub text: String,
    /// Log probabilities, if the request asks for them.
    pub logprobs: Option<Logprobs>,
    /// When the token was chosen.
    pub at: Instant,
}

/// Natural logarithms of probabilities by the model's own logits, before penalties, biases, temperature and
/// structure.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Logprobs {
    /// That of the chosen token.
    pub chosen: f32,
    /// The most likely tokens, best first.
    pub top: Vec<(u32, f32)>,
}

/// The end of a choice.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Finished {
    /// The choice, from 0.
    pub choice: usize,
    /// Why it ended.
    pub reason: FinishReason,
    /// Text that was held back until now.
    pub text: String,
    /// What it took.
    pub usage: Usage,
}

/// Why a choice ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum FinishReason {
    /// A stop token or stop text, or the structure of the answer is complete.
    Stop(Stop),
    /// The largest number of new tokens.
    Length,
    /// The caller took no more interest.
    Cancelled,
    /// The request's deadline.
    Deadline,
    /// Something failed.
    Failed(Failure),
}

/// What stopped a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// A stop token.
    Id(u32),
    /// A stop text.
    Text(String),
    /// Nothing can follow in the structure that was asked for.
    Structure,
}

/// What a choice took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the prompt, which the choices of a request share.
    pub prompt_tokens: usize,
    /// Tokens of the prompt that were found in the cache.
    pub cached_tokens: usize,
    /// New tokens, a stop token included.
    pub generated_tokens: usize,
    /// From the request to the start of its work; zero if it never started.
    pub queue_time: Duration,
    /// From the request to the choice's first token; zero if there is none.
    pub first_token_time: Duration,
    /// From the request to the end.
    pub total_time: Duration,
}
