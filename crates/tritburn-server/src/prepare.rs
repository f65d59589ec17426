//! From OpenAI's requests to the engine's.

use std::borrow::Cow;
use std::time::Instant;

use serde_json::Value;
use tritburn_models::engine::{Generation, Request, Structure, SubmitError};
use tritburn_models::sample::{SampleError, Sampling};
use tritburn_models::text::{ChatTemplate, TextError};

use crate::error::ApiError;
use crate::openai::{
    ChatRequest, CompletionRequest, GenerationFields, Prompt, Shape, Tool, ToolChoice, ToolMode,
    required_call,
};
use crate::state::Shared;

/// How the calls of a chat's answer are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// There are none.
    None,
    /// The model may make some.
    Auto,
    /// The answer is one.
    Required,
}

/// Renders a conversation and asks the engines to continue it.
///
/// # Errors
/// [`ApiError`] that names the field at fault.
pub fn chat(state: &Shared, request: &ChatRequest) -> Result<(Generation, Calls), ApiError> {
    let fields = &request.chat;
    let calls = calls(&fields.tools, fields.tool_choice.as_ref());
    let mut engine = engine_request(state, &request.generation)?;
    if calls != Calls::None && engine.structure.is_some() {
        let message = "an answer that follows a structure calls no functions: leave out `tools`, or say \
                       `tool_choice: \"none\"`";
        return Err(ApiError::unsupported("response_format", message));
    }
    engine.prompt = chat_prompt(state, request, calls)?.into();
    engine.max_new_tokens = fields.limit();
    engine.logprobs = fields.logprobs();
    if calls == Calls::Required {
        let schema = required_call(fields.tool_choice.as_ref(), &fields.tools);
        engine.structure = schema.map(Structure::JsonSchema);
    }
    Ok((submit(state, engine, "messages")?, calls))
}

/// Asks the engines to continue each prompt.
///
/// # Errors
/// [`ApiError`] that names the field at fault.
pub fn completions(
    state: &Shared,
    request: &CompletionRequest,
) -> Result<(Vec<String>, Vec<Generation>), ApiError> {
    let fields = &request.completion;
    let engine = engine_request(state, &request.generation)?;
    let prompts = fields.prompt.clone().into_prompts();
    if prompts.is_empty() {
        return Err(ApiError::value("prompt", "`prompt` is empty"));
    }
    let tokenizer = &state.text.tokenizer;
    let mut echoes = Vec::new();
    let mut generations = Vec::new();
    for prompt in prompts {
        let (text, ids) = match prompt {
            Prompt::Text(text) => {
                // Whoever writes the whole prompt may well spell special tokens in it.
                let ids = tokenizer.encode(&text).map_err(text_error)?;
                (text, ids)
            }
            Prompt::Ids(ids) if fields.echo == Some(true) => {
                (tokenizer.decode(&ids).map_err(text_error)?, ids)
            }
            Prompt::Ids(ids) => (String::new(), ids),
        };
        // A request that says nothing takes what there is room for.
        let room = state.context().saturating_sub(ids.len()).max(1);
        let limit = match fields.max_tokens {
            Some(limit) => limit,
            None => fields.limit().min(room),
        };
        let engine = Request {
            prompt: ids.into(),
            max_new_tokens: Some(limit),
            logprobs: fields.logprobs.map(|top| top as usize),
            ..engine.clone()
        };
        generations.push(submit(state, engine, "prompt")?);
        echoes.push(match fields.echo {
            Some(true) => text,
            _ => String::new(),
        });
    }
    Ok((echoes, generations))
}

fn calls(tools: &[Tool], choice: Option<&ToolChoice>) -> Calls {
    match choice {
        _ if tools.is_empty() => Calls::None,
        Some(ToolChoice::Mode(ToolMode::None)) => Calls::None,
        None | Some(ToolChoice::Mode(ToolMode::Auto)) => Calls::Auto,
        Some(ToolChoice::Mode(ToolMode::Required) | ToolChoice::Named { .. }) => Calls::Required,
    }
}

/// The ids of a conversation.
fn chat_prompt(state: &Shared, request: &ChatRequest, calls: Calls) -> Result<Vec<u32>, ApiError> {
    let template = state.text.template.as_ref().ok_or_else(|| {
        let message = "the model brings no chat template: use /v1/completions";
        ApiError::unsupported("messages", message)
    })?;
    let tokenizer = &state.text.tokenizer;
    let guard = |text: &str| tokenizer.guard(text).into_owned();
    let messages = request.chat.template_messages(&guard)?;
    let rendered = match calls {
        Calls::None => render(template, &messages, &Value::Null)?,
        Calls::Auto | Calls::Required => {
            let tools = serde_json::to_value(&request.chat.tools);
            let mut tools = tools.map_err(|error| ApiError::internal(error.to_string()))?;
            crate::openai::guard_texts(&mut tools, &guard);
            let rendered = render(template, &messages, &tools)?;
            if rendered == render(template, &messages, &Value::Null)? {
                let message = "the model's chat template takes no tools";
                return Err(ApiError::unsupported("tools", message));
            }
            rendered
        }
    };
    if let Some(index) = unheard(&messages, &rendered) {
        let path = format!("messages[{index}]");
        let message = format!("the model's chat template leaves out `{path}`");
        return Err(ApiError::unsupported(path, message));
    }
    tokenizer.encode_rendered(&rendered).map_err(text_error)
}

/// A message of the system or the user that the template leaves out.
fn unheard(messages: &Value, rendered: &str) -> Option<usize> {
    messages.as_array()?.iter().position(|message| {
        let heard = matches!(message["role"].as_str(), Some("system" | "user"));
        let content = message["content"].as_str().unwrap_or_default();
        heard && !rendered.contains(content.trim())
    })
}

fn render(template: &ChatTemplate, messages: &Value, tools: &Value) -> Result<String, ApiError> {
    let rendered = template.render_json(messages, tools, true);
    rendered.map_err(|error| match &error {
        TextError::Template(cause) => {
            let said = cause
                .detail()
                .map_or_else(|| cause.to_string(), str::to_string);
            ApiError::value(
                "messages",
                format!("the chat template refuses the messages: {said}"),
            )
        }
        error => ApiError::internal(error.to_string()),
    })
}

/// What does not depend on the prompt.
fn engine_request(state: &Shared, fields: &GenerationFields) -> Result<Request, ApiError> {
    let seed = fields.seed.map_or_else(rand::random, |seed| seed as u64);
    let deadline = state.options.request_time.map(|time| Instant::now() + time);
    Ok(Request {
        sampling: Sampling {
            temperature: fields.temperature.unwrap_or(1.0),
            top_k: fields.top_k.filter(|&k| k > 0).map(|k| k as usize),
            // Filters that keep everything are none.
            top_p: fields.top_p.filter(|&p| p < 1.0),
            min_p: fields.min_p.filter(|&p| p > 0.0),
            repetition_penalty: fields.repetition_penalty.unwrap_or(1.0),
            presence_penalty: fields.presence_penalty.unwrap_or(0.0),
            frequency_penalty: fields.frequency_penalty.unwrap_or(0.0),
            seed,
        },
        logit_bias: fields.biases()?,
        stop_ids: state.text.stop_ids.clone(),
        stop: fields.stops()?,
        ignore_stop_ids: fields.ignore_eos == Some(true),
        choices: fields.choices(),
        structure: fields.shape().map(|shape| match shape {
            Shape::JsonObject => Structure::JsonObject,
            Shape::JsonSchema(schema) => Structure::JsonSchema(schema),
            Shape::Regex(regex) => Structure::Regex(regex),
        }),
        deadline,
        ..Request::new(Vec::new())
    })
}

fn submit(state: &Shared, request: Request, prompt: &'static str) -> Result<Generation, ApiError> {
    let shape = match request.structure {
        Some(Structure::Regex(_)) => "guided_regex",
        _ => "response_format",
    };
    let refused = |error| refusal(error, prompt, shape);
    state.engines()?.submit(request).map_err(refused)
}

/// The engine's refusal, in OpenAI's words: `prompt` is the field that the prompt came from, `shape` that of
/// the answer's structure.
fn refusal(error: SubmitError, prompt: &'static str, shape: &'static str) -> ApiError {
    let message = error.to_string();
    match error {
        SubmitError::QueueFull { .. } => ApiError::overloaded(message),
        SubmitError::EmptyPrompt => ApiError::value(prompt, message),
        SubmitError::TokenId { what, .. } => {
            let param = match what {
                "prompt" => Cow::Borrowed(prompt),
                what => Cow::Owned(what.replace(' ', "_")),
            };
            ApiError::value(param, message)
        }
        SubmitError::Context { .. } | SubmitError::Cache { .. } => {
            ApiError::too_long(prompt, message)
        }
        SubmitError::Parameter { name, .. } => ApiError::value(field_name(name), message),
        SubmitError::Sampling(SampleError::Parameter { name, .. }) => {
            ApiError::value(field_name(name), message)
        }
        SubmitError::Structure { .. } => ApiError::value(shape, message),
        SubmitError::ShuttingDown => ApiError::going_down(),
        SubmitError::Stopped { .. } => ApiError::no_engine(message),
        _ => ApiError::internal(message),
    }
}

/// The field of a parameter of the engine's.
fn field_name(name: &str) -> String {
    match name {
        "choices" => "n".into(),
        name => name.replace([' ', '-'], "_"),
    }
}

pub(crate) fn text_error(error: TextError) -> ApiError {
    ApiError::internal(error.to_string())
}
