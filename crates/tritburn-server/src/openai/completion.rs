//! Requests of `/v1/completions`.

use serde::Deserialize;
use utoipa::ToSchema;

use super::body::{Body, Input};
use super::fields::COMPLETION;
use super::generation::{GenerationFields, MAX_TOP_LOGPROBS, within};
use crate::error::ApiError;

/// What OpenAI takes for tokens of an answer where nothing is said.
const DEFAULT_TOKENS: usize = 16;

/// A prompt and how to continue it.
#[derive(Clone, Debug, ToSchema)]
pub struct CompletionRequest {
    /// How tokens are chosen, and how many.
    #[serde(flatten)]
    pub generation: GenerationFields,
    /// The prompt.
    #[serde(flatten)]
    pub completion: CompletionFields,
}

/// Fields that only completions have.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct CompletionFields {
    /// What to continue: a text, token ids, or several of either, each of which gets its own choices.
    pub prompt: Input,
    /// Tokens to add at most. Default 16.
    pub max_tokens: Option<usize>,
    /// Put the prompt in front of the text.
    pub echo: Option<bool>,
    /// Tell the log probability of each token and of this many most likely ones in its place.
    pub logprobs: Option<u32>,
}

impl CompletionRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ApiError`] that names the field at fault.
    pub fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        let body = Body::parse(bytes, COMPLETION)?;
        if !body.has("prompt") {
            return Err(ApiError::value("prompt", "`prompt` is missing"));
        }
        let request = Self {
            generation: body.read()?,
            completion: body.read()?,
        };
        request.generation.validate()?;
        request.completion.validate()?;
        Ok(request)
    }
}

impl CompletionFields {
    fn validate(&self) -> Result<(), ApiError> {
        let top = self.logprobs.map(|top| top as f32);
        within("logprobs", top, 0.0, MAX_TOP_LOGPROBS as f32)?;
        if self.max_tokens == Some(0) {
            let message = "`max_tokens` has to be at least 1";
            return Err(ApiError::value("max_tokens", message));
        }
        if self.echo == Some(true) && self.logprobs.is_some() {
            let message =
                "`echo` with `logprobs` would need those of the prompt, which are not kept";
            return Err(ApiError::unsupported("echo", message));
        }
        Ok(())
    }

    /// Tokens to add at most.
    pub fn limit(&self) -> usize {
        self.max_tokens.unwrap_or(DEFAULT_TOKENS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(body: &str) -> Option<String> {
        let error = CompletionRequest::parse(body.as_bytes()).err()?;
        error.body().error.param
    }

    #[test]
    fn prompts_are_texts_or_ids() {
        for (prompt, expected) in [
            (r#""a""#, Input::Text("a".into())),
            (r#"["a", "b"]"#, Input::Texts(vec!["a".into(), "b".into()])),
            ("[1, 2]", Input::Ids(vec![1, 2])),
            ("[[1], [2, 3]]", Input::IdLists(vec![vec![1], vec![2, 3]])),
        ] {
            let body = format!(r#"{{"prompt": {prompt}}}"#);
            let request = CompletionRequest::parse(body.as_bytes()).unwrap();
            assert_eq!(request.completion.prompt, expected);
            assert_eq!(request.completion.limit(), 16);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, name) in [
            ("{}", "prompt"),
            (r#"{"prompt": [1, "a"]}"#, "prompt"),
            (r#"{"prompt": [-1]}"#, "prompt"),
            (r#"{"prompt": "a", "max_tokens": 0}"#, "max_tokens"),
            (r#"{"prompt": "a", "max_tokens": -5}"#, "max_tokens"),
            (r#"{"prompt": "a", "logprobs": 21}"#, "logprobs"),
            (r#"{"prompt": "a", "logprobs": true}"#, "logprobs"),
            (r#"{"prompt": "a", "echo": true, "logprobs": 0}"#, "echo"),
            (r#"{"prompt": "a", "best_of": 2}"#, "best_of"),
            (r#"{"prompt": "a", "suffix": "b"}"#, "suffix"),
        ] {
            assert_eq!(param(body).as_deref(), Some(name), "{body}");
        }
    }
}
