//! Requests of `/v1/chat/completions`.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::body::{Body, read};
use super::fields::CHAT;
use super::generation::{GenerationFields, MAX_TOP_LOGPROBS, within};
use super::tools::{Tool, ToolChoice};
use crate::error::ApiError;

/// A conversation and how to continue it.
#[derive(Clone, Debug, ToSchema)]
pub struct ChatRequest {
    /// How tokens are chosen, and how many.
    #[serde(flatten)]
    pub generation: GenerationFields,
    /// The conversation and its tools.
    #[serde(flatten)]
    pub chat: ChatFields,
}

/// Fields that only chats have.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct ChatFields {
    /// The conversation: objects with a `role` (`system`, `developer`, `user`, `assistant`, `tool`) and
    /// `content`, a text or an array of text parts.
    #[schema(value_type = Vec<Object>)]
    pub messages: Vec<Value>,
    /// Tokens of the answer at most; what the context leaves if absent.
    pub max_completion_tokens: Option<usize>,
    /// The older name of `max_completion_tokens`.
    pub max_tokens: Option<usize>,
    /// Tell the log probability of each token.
    pub logprobs: Option<bool>,
    /// And of this many most likely tokens in its place.
    pub top_logprobs: Option<u32>,
    /// Functions that the model may call.
    #[serde(default)]
    pub tools: Vec<Tool>,
    /// Whether it may, or has to.
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may make several calls at once.
    pub parallel_tool_calls: Option<bool>,
}

impl ChatRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ApiError`] that names the field at fault.
    pub fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        let body = Body::parse(bytes, CHAT)?;
        if !body.has("messages") {
            return Err(ApiError::value("messages", "`messages` is missing"));
        }
        let request = Self {
            generation: body.read()?,
            chat: body.read()?,
        };
        request.generation.validate()?;
        request.chat.validate()?;
        Ok(request)
    }
}

impl ChatFields {
    fn validate(&self) -> Result<(), ApiError> {
        if self.messages.is_empty() {
            return Err(ApiError::value("messages", "`messages` is empty"));
        }
        if self.max_completion_tokens.is_some() && self.max_tokens.is_some() {
            let message =
                "`max_tokens` is the older name of `max_completion_tokens`: give one of both";
            return Err(ApiError::value("max_tokens", message));
        }
        let limits = [
            ("max_completion_tokens", self.max_completion_tokens),
            ("max_tokens", self.max_tokens),
        ];
        if let Some((name, _)) = limits.into_iter().find(|(_, limit)| *limit == Some(0)) {
            return Err(ApiError::value(
                name,
                format!("`{name}` has to be at least 1"),
            ));
        }
        let top = self.top_logprobs.map(|top| top as f32);
        within("top_logprobs", top, 0.0, MAX_TOP_LOGPROBS as f32)?;
        if self.top_logprobs.is_some() && self.logprobs != Some(true) {
            let message = "`top_logprobs` needs `logprobs: true`";
            return Err(ApiError::value("top_logprobs", message));
        }
        for (index, tool) in self.tools.iter().enumerate() {
            tool.validate(index)?;
        }
        self.tool_choice
            .as_ref()
            .map_or(Ok(()), |choice| choice.validate(&self.tools))
    }

    /// Tokens of the answer at most.
    pub fn limit(&self) -> Option<usize> {
        self.max_completion_tokens.or(self.max_tokens)
    }

    /// How many alternatives to each token are told; `None` if no probabilities are.
    pub fn logprobs(&self) -> Option<usize> {
        let top = self.top_logprobs.unwrap_or(0) as usize;
        (self.logprobs == Some(true)).then_some(top)
    }

    /// The conversation as chat templates want it: texts in one piece, arguments of calls as objects, and
    /// the developer, whom templates do not know, as the system. Every text passes `guard`.
    ///
    /// # Errors
    /// [`ApiError`] for roles, fields and parts that are not supported, with the path to them.
    pub fn template_messages(&self, guard: &dyn Fn(&str) -> String) -> Result<Value, ApiError> {
        let messages = self.messages.iter().enumerate();
        let messages: Result<Vec<_>, _> = messages
            .map(|(index, message)| template_message(message, &format!("messages[{index}]")))
            .collect();
        let mut messages = Value::Array(messages?);
        guard_texts(&mut messages, guard);
        Ok(messages)
    }
}

/// Every text in `value`, names of fields left out, passes `guard`.
pub fn guard_texts(value: &mut Value, guard: &dyn Fn(&str) -> String) {
    match value {
        Value::String(text) => *text = guard(text),
        Value::Array(values) => values
            .iter_mut()
            .for_each(|value| guard_texts(value, guard)),
        Value::Object(fields) => fields
            .values_mut()
            .for_each(|value| guard_texts(value, guard)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn template_message(message: &Value, path: &str) -> Result<Value, ApiError> {
    let Value::Object(fields) = message else {
        return Err(ApiError::value(path, format!("`{path}` is no object")));
    };
    // Clients send back what they were sent, fields without a value included.
    let empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    let fields: Map<String, Value> = fields
        .iter()
        .filter(|(_, value)| !empty(value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut out = Map::new();
    let at = |name: &str| format!("{path}.{name}");
    for (name, value) in &fields {
        let value = match name.as_str() {
            "role" => role(value, &at(name))?,
            "content" => content(value, &at(name))?,
            "tool_calls" => tool_calls(value, &at(name))?,
            "name" | "tool_call_id" | "reasoning_content" | "refusal" => text(value, &at(name))?,
            _ => {
                let message = format!("`{}` is not supported", at(name));
                return Err(ApiError::unsupported(at(name), message));
            }
        };
        out.insert(name.clone(), value);
    }
    if !out.contains_key("role") {
        return Err(ApiError::value(
            at("role"),
            format!("`{}` is missing", at("role")),
        ));
    }
    if !out.contains_key("content") {
        if !out.contains_key("tool_calls") && !out.contains_key("refusal") {
            let message = format!("`{}` is missing", at("content"));
            return Err(ApiError::value(at("content"), message));
        }
        let said = out.get("refusal").cloned();
        out.insert("content".into(), said.unwrap_or_else(|| "".into()));
    }
    Ok(Value::Object(out))
}

fn role(value: &Value, path: &str) -> Result<Value, ApiError> {
    match value.as_str() {
        Some("developer") => Ok("system".into()),
        Some("system" | "user" | "assistant" | "tool") => Ok(value.clone()),
        _ => {
            let message = format!(
                "`{path}` is {value}: it has to be system, developer, user, assistant or tool"
            );
            Err(ApiError::value(path, message))
        }
    }
}

fn text(value: &Value, path: &str) -> Result<Value, ApiError> {
    match value {
        Value::String(_) => Ok(value.clone()),
        _ => Err(ApiError::value(path, format!("`{path}` is no string"))),
    }
}

/// A text, or parts of one.
fn content(value: &Value, path: &str) -> Result<Value, ApiError> {
    let Value::Array(parts) = value else {
        return text(value, path);
    };
    let mut whole = String::new();
    for (index, part) in parts.iter().enumerate() {
        let path = format!("{path}[{index}]");
        match (
            part["type"].as_str(),
            part["text"].as_str(),
            part["refusal"].as_str(),
        ) {
            (Some("text"), Some(text), _) | (Some("refusal"), _, Some(text)) => whole += text,
            (Some(kind @ ("text" | "refusal")), ..) => {
                let path = format!("{path}.{kind}");
                return Err(ApiError::value(
                    path.clone(),
                    format!("`{path}` is no string"),
                ));
            }
            (Some(kind), ..) => {
                let message =
                    format!("parts of type {kind:?} are not supported: this model reads text");
                return Err(ApiError::unsupported(path, message));
            }
            (None, ..) => {
                let path = format!("{path}.type");
                return Err(ApiError::value(
                    path.clone(),
                    format!("`{path}` is missing"),
                ));
            }
        }
    }
    Ok(whole.into())
}

/// Calls that the model made, their arguments as objects.
fn tool_calls(value: &Value, path: &str) -> Result<Value, ApiError> {
    #[derive(Deserialize)]
    struct Call {
        id: Option<String>,
        function: Function,
    }
    #[derive(Deserialize)]
    struct Function {
        name: String,
        arguments: String,
    }
    let calls: Vec<Call> = read(value.clone(), path)?;
    let calls = calls.into_iter().enumerate().map(|(index, call)| {
        let arguments: Value = serde_json::from_str(&call.function.arguments).map_err(|error| {
            let at = format!("{path}[{index}].function.arguments");
            ApiError::value(at.clone(), format!("`{at}` is no JSON: {error}"))
        })?;
        let function = json!({ "name": call.function.name, "arguments": arguments });
        Ok(json!({ "id": call.id, "type": "function", "function": function }))
    });
    calls.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(messages: Value) -> Result<Value, ApiError> {
        let body = json!({ "messages": messages }).to_string();
        let request = ChatRequest::parse(body.as_bytes())?;
        request
            .chat
            .template_messages(&|text| text.replace("<|", "<^|"))
    }

    fn refused(message: Value) -> String {
        let error = messages(json!([message])).unwrap_err();
        error.body().error.param.unwrap()
    }

    #[test]
    fn parts_become_one_text_and_the_developer_the_system() {
        let found = messages(json!([
            { "role": "developer", "content": "Be brief." },
            { "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "<|b" }] },
        ]));
        let expected = json!([
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": "a<^|b" },
        ]);
        assert_eq!(found.unwrap(), expected);
    }

    #[test]
    fn an_answer_comes_back_as_it_was_sent() {
        let call = json!({
            "id": "call_1", "type": "function",
            "function": { "name": "add", "arguments": "{\"a\": \"<|x\"}" },
        });
        let found = messages(json!([{
            "role": "assistant", "content": null, "refusal": null, "audio": null, "annotations": [],
            "tool_calls": [call],
        }]));
        let arguments = json!({ "a": "<^|x" });
        let function = json!({ "name": "add", "arguments": arguments });
        assert_eq!(
            found.unwrap(),
            json!([{
                "role": "assistant", "content": "",
                "tool_calls": [{ "id": "call_1", "type": "function", "function": function }],
            }])
        );
    }

    #[test]
    fn what_a_message_cannot_have_is_refused_with_its_path() {
        let image = json!([{ "type": "image_url", "image_url": { "url": "data:" } }]);
        let call = json!([{ "function": { "name": "add", "arguments": "{" } }]);
        for (message, path) in [
            (json!("hello"), "messages[0]"),
            (json!({ "content": "a" }), "messages[0].role"),
            (
                json!({ "role": "robot", "content": "a" }),
                "messages[0].role",
            ),
            (json!({ "role": "user" }), "messages[0].content"),
            (
                json!({ "role": "user", "content": 1 }),
                "messages[0].content",
            ),
            (
                json!({ "role": "user", "content": image }),
                "messages[0].content[0]",
            ),
            (
                json!({ "role": "user", "content": "a", "audio": {} }),
                "messages[0].audio",
            ),
            (
                json!({ "role": "assistant", "tool_calls": call }),
                "messages[0].tool_calls[0].function.arguments",
            ),
            (
                json!({ "role": "assistant", "tool_calls": [{ "id": "1" }] }),
                "messages[0].tool_calls[0]",
            ),
        ] {
            assert_eq!(refused(message.clone()), path, "{message}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (extra, name) in [
            (
                r#""max_tokens": 1, "max_completion_tokens": 2"#,
                "max_tokens",
            ),
            (r#""max_tokens": 0"#, "max_tokens"),
            (r#""top_logprobs": 2"#, "top_logprobs"),
            (r#""logprobs": true, "top_logprobs": 21"#, "top_logprobs"),
            (r#""tool_choice": "required""#, "tool_choice"),
            (
                r#""tools": [{"type": "function", "function": {"name": "a b"}}]"#,
                "tools[0].function.name",
            ),
        ] {
            let body = format!(r#"{{"messages": [{{"role": "user", "content": "a"}}], {extra}}}"#);
            let error = ChatRequest::parse(body.as_bytes()).unwrap_err();
            assert_eq!(error.body().error.param.as_deref(), Some(name), "{extra}");
        }
    }
}
