//! What an engine is asked for.

use std::sync::Arc;
use std::time::Instant;

use crate::sample::Sampling;

/// A prompt and how to continue it.
///
/// # Examples
///
/// ```
/// use tritburn_models::engine::Request;
/// use tritburn_models::sample::Sampling;
///
/// let request = Request {
///     max_new_tokens: Some(32),
///     sampling: Sampling { temperature: 0.7, seed: 1, ..Sampling::greedy() },
///     stop: vec!["\n\n".into()],
///     ..Request::new(vec![1, 2, 3])
/// };
/// assert_eq!(request.choices, 1);
/// ```
#[derive(Clone, Debug)]
pub struct Request {
    /// Ids of the prompt.
    pub prompt: Arc<[u32]>,
    /// New tokens of each choice at most; as many as the context has room for if `None`.
    pub max_new_tokens: Option<usize>,
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// Added to the logits of tokens, `(id, bias)`; -∞ forbids a token.
    pub logit_bias: Vec<(u32, f32)>,
    /// Tokens that end a choice. They are part of its tokens and not of its text.
    pub stop_ids: Vec<u32>,
    /// Texts that end a choice, also across the borders of tokens. Text before one is given out, the text
    /// itself is not.
    pub stop: Vec<String>,
    /// Whether [`stop_ids`](Self::stop_ids) are passed over: for measurements.
    pub ignore_stop_ids: bool,
    /// Answers to the same prompt, which draw independently of each other.
    pub choices: usize,
    /// `Some(k)` asks for the log probability of each token and of the `k` most likely ones.
    pub logprobs: Option<usize>,
    /// What the answer has to look like.
    pub structure: Option<Structure>,
    /// When the request ends in any case.
    pub deadline: Option<Instant>,
}

impl Request {
    /// Most choices of a request.
    pub const MAX_CHOICES: usize = 128;
    /// Most log probabilities of a token.
    pub const MAX_LOGPROBS: usize = 64;
    /// Most stop texts.
    pub const MAX_STOPS: usize = 64;

    /// The most likely continuation of `prompt`, without an end but the context's.
    pub fn new(prompt: impl Into<Arc<[u32]>>) -> Self {
        Self {
            prompt: prompt.into(),
            max_new_tokens: None,
            sampling: Sampling::greedy(),
            logit_bias: Vec::new(),
            stop_ids: Vec::new(),
            stop: Vec::new(),
            ignore_stop_ids: false,
            choices: 1,
            logprobs: None,
            structure: None,
            deadline: None,
        }
    }
}

/// What an answer has to look like: tokens that would break it are never chosen.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Structure {
    /// JSON that a schema describes.
    JsonSchema(serde_json::Value),
    /// Any JSON object.
    JsonObject,
    /// Text that a regular expression matches as a whole.
    Regex(String),
    /// Text of a grammar, in the dialect of Lark that llguidance reads.
    Lark(String),
}
