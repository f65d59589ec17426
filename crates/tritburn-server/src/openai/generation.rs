//! What completions and chats have in common: how tokens are chosen, and how many.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::body::OneOrMany;
use crate::error::ApiError;

/// Choices of one request, at most.
const MAX_CHOICES: u32 = 128;
/// Texts that end an answer, at most; their bytes together.
const MAX_STOPS: usize = 16;
const MAX_STOP_BYTES: usize = 4096;
/// Tokens with a bias, at most.
const MAX_BIASES: usize = 1024;
/// Alternatives to a token whose probability is told, at most.
pub const MAX_TOP_LOGPROBS: u32 = 20;

/// Fields that completions and chats share.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct GenerationFields {
    /// The model's name; the one that is served if absent.
    pub model: Option<String>,
    /// Logits are divided by it; 0 takes the most likely token. Default 1.
    pub temperature: Option<f32>,
    /// Draw among the fewest most likely tokens whose probabilities add up to this.
    pub top_p: Option<f32>,
    /// Draw among this many most likely tokens; 0 and -1 stand for all.
    pub top_k: Option<i64>,
    /// Draw among tokens at least this many times as likely as the most likely one.
    pub min_p: Option<f32>,
    /// Make tokens that occurred, in the prompt or since, less likely: over 1.
    pub repetition_penalty: Option<f32>,
    /// Subtracted from the logits of tokens that the answer has, once.
    pub presence_penalty: Option<f32>,
    /// Subtracted from the logits of tokens that the answer has, for each time.
    pub frequency_penalty: Option<f32>,
    /// Start of the random numbers.
    pub seed: Option<i64>,
    /// Texts that end the answer and are no part of it.
    pub stop: Option<OneOrMany>,
    /// Added to the logits of tokens, by their ids: -100 to 100.
    pub logit_bias: Option<BTreeMap<String, f32>>,
    /// How many answers.
    pub n: Option<u32>,
    /// Go on past the tokens that end a text.
    pub ignore_eos: Option<bool>,
    /// Send the answer while it grows, as server-sent events.
    pub stream: Option<bool>,
    /// What else to send then.
    pub stream_options: Option<StreamOptions>,
    /// What the answer has to look like.
    pub response_format: Option<ResponseFormat>,
    /// A regular expression that the answer has to match.
    pub guided_regex: Option<String>,
}

/// What a stream brings besides tokens.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamOptions {
    /// Numbers of tokens, in a last chunk without choices.
    pub include_usage: Option<bool>,
    /// Accepted and unused: chunks are never padded.
    pub include_obfuscation: Option<bool>,
}

/// What an answer has to look like.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ResponseFormat {
    /// Anything.
    Text {},
    /// A JSON object.
    JsonObject {},
    /// JSON that a schema describes.
    JsonSchema {
        /// The schema.
        json_schema: JsonSchema,
    },
}

/// A schema with its name.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonSchema {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[allow(dead_code)]
    pub description: Option<String>,
    /// The schema; any JSON object if absent.
    #[schema(value_type = Option<Object>)]
    pub schema: Option<Value>,
    /// Accepted and unused: answers always follow the schema.
    #[allow(dead_code)]
    pub strict: Option<bool>,
}

/// What an answer is held to.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Any JSON object.
    JsonObject,
    /// JSON by a schema.
    JsonSchema(Value),
    /// A regular expression.
    Regex(String),
}

impl GenerationFields {
    /// Checks every value that has bounds of OpenAI's; those of sampling are the engine's to check as well.
    ///
    /// # Errors
    /// [`ApiError::value`] for the first that is out of its bounds.
    pub fn validate(&self) -> Result<(), ApiError> {
        within("temperature", self.temperature, 0.0, 2.0)?;
        within("presence_penalty", self.presence_penalty, -2.0, 2.0)?;
        within("frequency_penalty", self.frequency_penalty, -2.0, 2.0)?;
        within("min_p", self.min_p, 0.0, 1.0)?;
        within("top_p", self.top_p, 0.0, 1.0)?;
        if self.top_p == Some(0.0) {
            return Err(ApiError::value("top_p", "`top_p` has to be over 0"));
        }
        within("repetition_penalty", self.repetition_penalty, 0.01, 100.0)?;
        within("n", self.n.map(|n| n as f32), 1.0, MAX_CHOICES as f32)?;
        if self.top_k.is_some_and(|k| k < -1) {
            let message = "`top_k` has to be at least 1, or 0 or -1 for all tokens";
            return Err(ApiError::value("top_k", message));
        }
        if self.stream_options.is_some() && self.stream != Some(true) {
            let message = "`stream_options` needs `stream: true`";
            return Err(ApiError::value("stream_options", message));
        }
        if self.guided_regex.is_some() && self.response_format.is_some() {
            let message = "`guided_regex` and `response_format` exclude each other";
            return Err(ApiError::value("guided_regex", message));
        }
        self.stops()?;
        self.biases().map(drop)
    }

    /// Whether the answer is sent while it grows.
    pub fn streams(&self) -> bool {
        self.stream == Some(true)
    }

    /// Whether a stream closes with numbers of tokens.
    pub fn streams_usage(&self) -> bool {
        let options = self.stream_options.unwrap_or_default();
        options.include_usage == Some(true)
    }

    /// How many answers.
    pub fn choices(&self) -> usize {
        self.n.unwrap_or(1) as usize
    }

    /// The texts that end an answer.
    ///
    /// # Errors
    /// [`ApiError::value`] for too many or empty ones.
    pub fn stops(&self) -> Result<Vec<String>, ApiError> {
        let stops: Vec<String> = self.stop.clone().map_or(Vec::new(), Into::into);
        let bytes: usize = stops.iter().map(String::len).sum();
        if stops.len() > MAX_STOPS || bytes > MAX_STOP_BYTES {
            let message = format!(
                "`stop` takes at most {MAX_STOPS} texts of {MAX_STOP_BYTES} bytes together, not {} of {bytes}",
                stops.len()
            );
            return Err(ApiError::value("stop", message));
        }
        if stops.iter().any(String::is_empty) {
            return Err(ApiError::value("stop", "`stop` has an empty text"));
        }
        Ok(stops)
    }

    /// Ids and what is added to their logits.
    ///
    /// # Errors
    /// [`ApiError::value`] for keys that are no ids and values out of bounds.
    pub fn biases(&self) -> Result<Vec<(u32, f32)>, ApiError> {
        let Some(biases) = &self.logit_bias else {
            return Ok(Vec::new());
        };
        if biases.len() > MAX_BIASES {
            let message = format!("`logit_bias` takes at most {MAX_BIASES} tokens");
            return Err(ApiError::value("logit_bias", message));
        }
        let bias = |(id, &bias): (&String, &f32)| match id.parse() {
            Ok(id) if (-100.0..=100.0).contains(&bias) => Ok((id, bias)),
            Ok(_) => {
                let message = format!("the bias {bias} of token {id} is not from -100 to 100");
                Err(ApiError::value("logit_bias", message))
            }
            Err(_) => {
                let message = format!("{id:?} is no token id");
                Err(ApiError::value("logit_bias", message))
            }
        };
        biases.iter().map(bias).collect()
    }

    /// What the answer is held to.
    pub fn shape(&self) -> Option<Shape> {
        match (&self.guided_regex, &self.response_format) {
            (Some(regex), _) => Some(Shape::Regex(regex.clone())),
            (None, None | Some(ResponseFormat::Text {})) => None,
            (None, Some(ResponseFormat::JsonObject {})) => Some(Shape::JsonObject),
            (None, Some(ResponseFormat::JsonSchema { json_schema })) => {
                let schema = json_schema.schema.clone();
                Some(schema.map_or(Shape::JsonObject, Shape::JsonSchema))
            }
        }
    }
}

/// Refuses what is not a number from `least` to `most`.
pub fn within(
    name: &'static str,
    value: Option<f32>,
    least: f32,
    most: f32,
) -> Result<(), ApiError> {
    match value {
        Some(value) if !(least..=most).contains(&value) => {
            let message = format!("`{name}` has to be from {least} to {most}, not {value}");
            Err(ApiError::value(name, message))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::body::Body;
    use super::super::fields::CHAT;
    use super::*;

    fn param(body: &str) -> Option<String> {
        let fields = Body::parse(body.as_bytes(), CHAT).and_then(|body| {
            let fields: GenerationFields = body.read()?;
            fields.validate()?;
            Ok(fields)
        });
        fields.err().and_then(|error| error.body().error.param)
    }

    #[test]
    fn values_out_of_their_bounds_are_refused_by_name() {
        for (body, name) in [
            (r#"{"temperature": -0.1}"#, "temperature"),
            (r#"{"temperature": 2.5}"#, "temperature"),
            (r#"{"temperature": 1e39}"#, "temperature"),
            (r#"{"temperature": "hot"}"#, "temperature"),
            (r#"{"top_p": 0}"#, "top_p"),
            (r#"{"top_p": -1}"#, "top_p"),
            (r#"{"min_p": 1.5}"#, "min_p"),
            (r#"{"top_k": -2}"#, "top_k"),
            (r#"{"repetition_penalty": 0}"#, "repetition_penalty"),
            (r#"{"presence_penalty": 3}"#, "presence_penalty"),
            (r#"{"frequency_penalty": -3}"#, "frequency_penalty"),
            (r#"{"n": 0}"#, "n"),
            (r#"{"n": -1}"#, "n"),
            (r#"{"n": 129}"#, "n"),
            (r#"{"seed": 1.5}"#, "seed"),
            (r#"{"stop": ["", "a"]}"#, "stop"),
            (r#"{"logit_bias": {"a": 1}}"#, "logit_bias"),
            (r#"{"logit_bias": {"1": 101}}"#, "logit_bias"),
            (
                r#"{"stream_options": {"include_usage": true}}"#,
                "stream_options",
            ),
            (
                r#"{"stream": true, "stream_options": {"more": 1}}"#,
                "stream_options.more",
            ),
            (
                r#"{"response_format": {"type": "xml"}}"#,
                "response_format.type",
            ),
            (
                r#"{"guided_regex": "a", "response_format": {"type": "text"}}"#,
                "guided_regex",
            ),
        ] {
            assert_eq!(param(body).as_deref(), Some(name), "{body}");
        }
        assert_eq!(
            param(r#"{"temperature": 0, "top_k": -1, "n": 128, "seed": -7}"#),
            None
        );
    }

    #[test]
    fn a_schema_without_a_schema_is_any_object() {
        let json = r#"{"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}}"#;
        let fields: GenerationFields = serde_json::from_str(json).unwrap();
        assert_eq!(fields.shape(), Some(Shape::JsonObject));
    }
}
