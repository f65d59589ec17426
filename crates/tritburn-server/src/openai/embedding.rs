//! Requests of `/v1/embeddings`.

use serde::Deserialize;
use utoipa::ToSchema;

use super::body::{Body, Input};
use super::fields::EMBEDDING;
use crate::error::ApiError;

/// Texts to turn into vectors.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct EmbeddingRequest {
    /// The model's name; the one that is served if absent.
    pub model: Option<String>,
    /// A text, token ids, or several of either.
    pub input: Input,
    /// How vectors are written. Default `float`.
    #[serde(default)]
    pub encoding_format: Encoding,
    /// Elements of a vector: only as many as the model has.
    pub dimensions: Option<usize>,
}

/// How a vector is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// An array of numbers.
    #[default]
    Float,
    /// Base64 of little-endian f32.
    Base64,
}

impl EmbeddingRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ApiError`] that names the field at fault.
    pub fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        let body = Body::parse(bytes, EMBEDDING)?;
        if !body.has("input") {
            return Err(ApiError::value("input", "`input` is missing"));
        }
        body.read()
    }
}
