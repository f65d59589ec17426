//! `/v1/chat/completions`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use tritburn_models::text::Tokenizer;
use uuid::Uuid;

use crate::answer::{self, Chunks, Head, Whole};
use crate::calls::{self, Call, CallReader};
use crate::choices::{ChoiceEvent, Choices};
use crate::error::{ApiError, ErrorBody};
use crate::extract::JsonBytes;
use crate::logprobs;
use crate::openai::{
    AnswerMessage, CalledFunction, ChatAnswer, ChatChoice, ChatDelta, ChatRequest, Delta, ToolCall,
    Usage,
};
use crate::prepare::{self, Calls};
use crate::state::AppState;

/// Continue a conversation.
#[utoipa::path(
    post,
    path = "/v1/chat/completions",
    tag = "OpenAI",
    request_body = ChatRequest,
    responses(
        (status = 200, description = "The answer; chunks of it as server-sent events if `stream`", body = ChatAnswer<ChatChoice>),
        (status = "4XX", description = "What is wrong with the request", body = ErrorBody),
        (status = "5XX", description = "What is wrong with the server", body = ErrorBody),
    ),
)]
pub async fn chat(
    State(state): State<AppState>,
    JsonBytes(body): JsonBytes,
) -> Result<Response, ApiError> {
    let request = Arc::new(ChatRequest::parse(&body)?);
    drop(body);
    state.check_model(request.generation.model.as_deref())?;
    state.log_prompt(|| serde_json::json!(request.chat.messages).to_string());
    let prepared = request.clone();
    let (generation, calls) = state
        .blocking(move |state| prepare::chat(state, &prepared))
        .await?;
    let mut choices = Choices::new(&state, vec![generation], request.generation.choices());
    let writer = Writer {
        head: Head::new("chatcmpl", &state.name),
        tokenizer: state.text.tokenizer.clone(),
        calls,
        parallel: request.chat.parallel_tool_calls != Some(false),
        logprobs: request.chat.logprobs().is_some(),
        readers: Vec::new(),
    };
    if request.generation.streams() {
        let usage = request.generation.streams_usage();
        return Ok(answer::stream(choices, writer, usage));
    }
    let whole = answer::collect(&mut choices).await?;
    let answers = whole
        .into_iter()
        .enumerate()
        .map(|(index, whole)| writer.choice(index, whole));
    let answer = writer.answer("chat.completion", answers.collect(), Some(choices.usage()));
    Ok(Json(answer).into_response())
}

/// Writes choices in a chat's form.
struct Writer {
    head: Head,
    tokenizer: Arc<Tokenizer>,
    calls: Calls,
    /// Whether there may be several calls.
    parallel: bool,
    logprobs: bool,
    /// For each choice of a stream, what may become a call.
    readers: Vec<CallReader>,
}

impl Writer {
    fn answer<C>(
        &self,
        object: &'static str,
        choices: Vec<C>,
        usage: Option<Usage>,
    ) -> ChatAnswer<C> {
        ChatAnswer {
            id: self.head.id.clone(),
            object,
            created: self.head.created,
            model: self.head.model.clone(),
            system_fingerprint: Head::fingerprint(),
            choices,
            usage,
        }
    }

    fn choice(&self, index: usize, whole: Whole) -> ChatChoice {
        let (text, calls) = match self.calls {
            Calls::None => (whole.text, Vec::new()),
            Calls::Auto | Calls::Required => {
                let mut reader = CallReader::default();
                let early = reader.push(&whole.text);
                let (late, calls) = self.finish(reader);
                (early + &late, calls)
            }
        };
        ChatChoice {
            index,
            finish_reason: finish_reason(whole.reason, &calls),
            message: AnswerMessage {
                role: "assistant",
                content: (!text.is_empty() || calls.is_empty()).then_some(text),
                refusal: None,
                tool_calls: calls,
            },
            logprobs: logprobs::chat(&self.tokenizer, &whole.tokens),
        }
    }

    /// What is left of an answer, and its calls.
    fn finish(&self, reader: CallReader) -> (String, Vec<ToolCall>) {
        let (text, mut calls) = reader.finish();
        if self.calls == Calls::Required && calls.is_empty() {
            // Structure saw to it, unless the answer was cut short.
            calls.extend(calls::call(&text));
        }
        if !self.parallel {
            calls.truncate(1);
        }
        (text, calls.into_iter().map(tool_call).collect())
    }

    fn chunk(&self, delta: ChatDelta) -> ChatAnswer<ChatDelta> {
        self.answer("chat.completion.chunk", vec![delta], None)
    }
}

impl Chunks for Writer {
    type Chunk = ChatAnswer<ChatDelta>;

    fn begin(&mut self, index: usize) -> Option<Self::Chunk> {
        self.readers.push(CallReader::default());
        let delta = Delta {
            role: Some("assistant"),
            content: Some(String::new()),
            ..Delta::default()
        };
        Some(self.chunk(ChatDelta {
            index,
            delta,
            logprobs: None,
            finish_reason: None,
        }))
    }

    fn event(&mut self, index: usize, event: ChoiceEvent) -> Option<Self::Chunk> {
        let calls = self.calls != Calls::None;
        let (delta, logprobs, finish_reason) = match event {
            ChoiceEvent::Token(token) => {
                let text = match calls {
                    true => self.readers[index].push(&token.text),
                    false => token.text.clone(),
                };
                let logprobs = self
                    .logprobs
                    .then(|| logprobs::chat(&self.tokenizer, &[token]));
                let logprobs = logprobs.flatten();
                if text.is_empty() && logprobs.is_none() {
                    return None;
                }
                let delta = Delta {
                    content: Some(text),
                    ..Delta::default()
                };
                (delta, logprobs, None)
            }
            ChoiceEvent::End { text, reason } => {
                let (text, calls) = match calls {
                    true => {
                        let mut reader = std::mem::take(&mut self.readers[index]);
                        let early = reader.push(&text);
                        let (late, calls) = self.finish(reader);
                        (early + &late, calls)
                    }
                    false => (text, Vec::new()),
                };
                let reason = finish_reason(reason, &calls);
                let numbered = calls
                    .into_iter()
                    .enumerate()
                    .map(|(number, call)| ToolCall {
                        index: Some(number),
                        ..call
                    });
                let delta = Delta {
                    role: None,
                    content: (!text.is_empty()).then_some(text),
                    tool_calls: numbered.collect(),
                };
                (delta, None, Some(reason))
            }
        };
        Some(self.chunk(ChatDelta {
            index,
            delta,
            logprobs,
            finish_reason,
        }))
    }

    fn usage(&mut self, usage: Usage) -> Self::Chunk {
        self.answer("chat.completion.chunk", Vec::new(), Some(usage))
    }
}

fn finish_reason(reason: &'static str, calls: &[ToolCall]) -> &'static str {
    match calls.is_empty() {
        true => reason,
        false => "tool_calls",
    }
}

fn tool_call(call: Call) -> ToolCall {
    ToolCall {
        index: None,
        id: format!("call_{}", Uuid::new_v4().simple()),
        kind: "function",
        function: CalledFunction {
            name: call.name,
            arguments: call.arguments.to_string(),
        },
    }
}
