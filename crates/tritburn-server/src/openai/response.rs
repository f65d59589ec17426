//! Answers.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::embedding::Encoding;

/// Numbers of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Usage {
    /// Tokens of the prompts.
    pub prompt_tokens: usize,
    /// Tokens of all answers.
    pub completion_tokens: usize,
    /// Both.
    pub total_tokens: usize,
    /// More about those of the prompts.
    pub prompt_tokens_details: PromptDetails,
}

/// More about the tokens of prompts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct PromptDetails {
    /// Those that an earlier request had left in the cache.
    pub cached_tokens: usize,
}

impl Usage {
    /// The sum of `prompt` and `completion` tokens, `cached` of which were found.
    pub fn new(prompt: usize, cached: usize, completion: usize) -> Self {
        Self {
            prompt_tokens: prompt,
            completion_tokens: completion,
            total_tokens: prompt + completion,
            prompt_tokens_details: PromptDetails {
                cached_tokens: cached,
            },
        }
    }

    /// Adds the tokens of another prompt.
    pub fn add(&mut self, other: Self) {
        *self = Self::new(
            self.prompt_tokens + other.prompt_tokens,
            self.prompt_tokens_details.cached_tokens + other.prompt_tokens_details.cached_tokens,
            self.completion_tokens + other.completion_tokens,
        );
    }
}

/// A chat's answer, or a chunk of one.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChatAnswer<C> {
    /// Names the answer.
    pub id: String,
    /// `chat.completion` or `chat.completion.chunk`.
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: u64,
    /// The model.
    pub model: String,
    /// Names what answers may depend on besides the request.
    pub system_fingerprint: String,
    /// The answers.
    pub choices: Vec<C>,
    /// Numbers of tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// A whole answer of a chat.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChatChoice {
    /// Its number.
    pub index: usize,
    /// What the assistant says.
    pub message: AnswerMessage,
    /// Log probabilities, if asked for.
    pub logprobs: Option<ChatLogprobs>,
    /// `stop`, `length` or `tool_calls`.
    pub finish_reason: &'static str,
}

/// What the assistant says.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AnswerMessage {
    /// `assistant`.
    pub role: &'static str,
    /// The text; null where there are only calls.
    pub content: Option<String>,
    /// Always null: there is no model that refuses in a field of its own.
    #[schema(value_type = Option<String>)]
    pub refusal: Option<()>,
    /// Functions that it calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
}

/// A call of a function.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ToolCall {
    /// Its number, in a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// Names the call, for its result.
    pub id: String,
    /// `function`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The function.
    pub function: CalledFunction,
}

/// A function that is called.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CalledFunction {
    /// Its name.
    pub name: String,
    /// Its arguments, a JSON object as text.
    pub arguments: String,
}

/// A part of a chat's answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChatDelta {
    /// The answer's number.
    pub index: usize,
    /// What is new.
    pub delta: Delta,
    /// Log probabilities of new tokens, if asked for.
    pub logprobs: Option<ChatLogprobs>,
    /// `stop`, `length` or `tool_calls` at the end.
    pub finish_reason: Option<&'static str>,
}

/// What is new in a chat's answer.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Delta {
    /// `assistant`, in the first part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// More text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Functions that it calls, each whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
}

/// Log probabilities of a chat's tokens.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ChatLogprobs {
    /// One a token.
    pub content: Vec<ChatLogprob>,
}

/// A token, its log probability, and alternatives.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ChatLogprob {
    /// The token.
    #[serde(flatten)]
    pub token: TokenLogprob,
    /// The most likely tokens in its place, best first.
    pub top_logprobs: Vec<TokenLogprob>,
}

/// A token and its log probability.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TokenLogprob {
    /// Its text.
    pub token: String,
    /// Its log probability.
    pub logprob: f32,
    /// The text's bytes.
    pub bytes: Vec<u8>,
}

/// A completion, or a chunk of one.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CompletionAnswer {
    /// Names the answer.
    pub id: String,
    /// `text_completion`.
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: u64,
    /// The model.
    pub model: String,
    /// Names what answers may depend on besides the request.
    pub system_fingerprint: String,
    /// The texts.
    pub choices: Vec<CompletionChoice>,
    /// Numbers of tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// A text, or what is new in it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CompletionChoice {
    /// Its number: those of the first prompt come first.
    pub index: usize,
    /// The text.
    pub text: String,
    /// Log probabilities, if asked for.
    pub logprobs: Option<CompletionLogprobs>,
    /// `stop` or `length`, at the end.
    pub finish_reason: Option<&'static str>,
}

/// Log probabilities of a completion's tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct CompletionLogprobs {
    /// Texts of the tokens.
    pub tokens: Vec<String>,
    /// Their log probabilities.
    pub token_logprobs: Vec<f32>,
    /// The most likely tokens in the place of each.
    pub top_logprobs: Vec<BTreeMap<String, f32>>,
    /// Where each begins in the text, in characters.
    pub text_offset: Vec<usize>,
}

/// Vectors of texts.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EmbeddingAnswer {
    /// `list`.
    pub object: &'static str,
    /// In the order of the texts.
    pub data: Vec<Embedding>,
    /// The model.
    pub model: String,
    /// Numbers of tokens.
    pub usage: EmbeddingUsage,
}

/// The vector of a text.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Embedding {
    /// `embedding`.
    pub object: &'static str,
    /// The text's number.
    pub index: usize,
    /// Its elements.
    #[schema(value_type = Vec<f32>)]
    pub embedding: Vector,
}

/// The elements of a vector.
#[derive(Clone, Debug)]
pub struct Vector {
    /// Its elements.
    pub values: Vec<f32>,
    /// How they are written.
    pub encoding: Encoding,
}

impl Serialize for Vector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use base64::Engine as _;

        match self.encoding {
            Encoding::Float => self.values.serialize(serializer),
            Encoding::Base64 => {
                let bytes: Vec<u8> = self.values.iter().flat_map(|v| v.to_le_bytes()).collect();
                let text = base64::engine::general_purpose::STANDARD.encode(bytes);
                serializer.serialize_str(&text)
            }
        }
    }
}

/// Numbers of tokens of texts.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct EmbeddingUsage {
    /// Tokens of the texts.
    pub prompt_tokens: usize,
    /// The same.
    pub total_tokens: usize,
}

/// Models that are served.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Models {
    /// `list`.
    pub object: &'static str,
    /// The models.
    pub data: Vec<Model>,
}

/// A model that is served.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Model {
    /// Its name.
    pub id: String,
    /// `model`.
    pub object: &'static str,
    /// When it was loaded, in seconds since 1970.
    pub created: u64,
    /// `tritburn`.
    pub owned_by: &'static str,
    /// Positions of a prompt with its answer.
    pub max_model_len: usize,
}
