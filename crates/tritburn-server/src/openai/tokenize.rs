//! Text to token ids and back.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::Body;
use super::fields::{DETOKENIZE, TOKENIZE};
use crate::error::ApiError;

/// A text whose tokens are asked for.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct TokenizeRequest {
    /// The model's name; the one that is served if absent.
    pub model: Option<String>,
    /// The text, as llama.cpp calls it.
    pub content: Option<String>,
    /// The text, as vLLM calls it.
    pub prompt: Option<String>,
    /// Put the special tokens around it that a prompt gets. Default true.
    pub add_special_tokens: Option<bool>,
    /// Tell each token's text.
    pub with_pieces: Option<bool>,
}

/// The tokens of a text.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Tokenized {
    /// Their ids.
    pub tokens: Vec<u32>,
    /// Each with its text, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pieces: Option<Vec<Piece>>,
    /// How many they are.
    pub count: usize,
    /// Positions of the model.
    pub max_model_len: usize,
}

/// A token and its text.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Piece {
    /// Its id.
    pub id: u32,
    /// Its text as the tokenizer writes it.
    pub piece: String,
}

/// Ids whose text is asked for.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct DetokenizeRequest {
    /// The model's name; the one that is served if absent.
    pub model: Option<String>,
    /// The ids.
    pub tokens: Vec<u32>,
}

/// The text of token ids.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Detokenized {
    /// The text, special tokens left out.
    pub content: String,
}

impl TokenizeRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ApiError`] that names the field at fault.
    pub fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        Body::parse(bytes, TOKENIZE)?.read()
    }

    /// The text.
    ///
    /// # Errors
    /// [`ApiError::value`] unless it is given once.
    pub fn text(&self) -> Result<&str, ApiError> {
        match (&self.content, &self.prompt) {
            (Some(text), None) | (None, Some(text)) => Ok(text),
            _ => Err(ApiError::value(
                "content",
                "give `content` or `prompt`, one of both",
            )),
        }
    }
}

impl DetokenizeRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ApiError`] that names the field at fault.
    pub fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        Body::parse(bytes, DETOKENIZE)?.read()
    }
}
