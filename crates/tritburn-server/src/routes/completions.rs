//! `/v1/completions`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use tritburn_models::text::Tokenizer;

use crate::answer::{self, Chunks, Head, Whole};
use crate::choices::{ChoiceEvent, Choices};
use crate::error::{ApiError, ErrorBody};
use crate::extract::JsonBytes;
use crate::logprobs;
use crate::openai::{CompletionAnswer, CompletionChoice, CompletionRequest, Usage};
use crate::prepare;
use crate::state::AppState;

/// Continue prompts.
#[utoipa::path(
    post,
    path = "/v1/completions",
    tag = "OpenAI",
    request_body = CompletionRequest,
    responses(
        (status = 200, description = "The texts; chunks of them as server-sent events if `stream`", body = CompletionAnswer),
        (status = "4XX", description = "What is wrong with the request", body = ErrorBody),
        (status = "5XX", description = "What is wrong with the server", body = ErrorBody),
    ),
)]
pub async fn completions(
    State(state): State<AppState>,
    JsonBytes(body): JsonBytes,
) -> Result<Response, ApiError> {
    let request = Arc::new(CompletionRequest::parse(&body)?);
    drop(body);
    state.check_model(request.generation.model.as_deref())?;
    state.log_prompt(|| format!("{:?}", request.completion.prompt));
    let prepared = request.clone();
    let prepare = move |state: &AppState| prepare::completions(state, &prepared);
    let (echoes, generations) = state.blocking(prepare).await?;
    let mut choices = Choices::new(&state, generations, request.generation.choices());
    let echoes: Vec<String> = (0..choices.count())
        .map(|index| echoes[choices.prompt_of(index)].clone())
        .collect();
    let writer = Writer {
        head: Head::new("cmpl", &state.name),
        tokenizer: state.text.tokenizer.clone(),
        offsets: vec![0; choices.count()],
        echoes,
    };
    if request.generation.streams() {
        let usage = request.generation.streams_usage();
        return Ok(answer::stream(choices, writer, usage));
    }
    let whole = answer::collect(&mut choices).await?;
    let texts = whole
        .into_iter()
        .enumerate()
        .map(|(index, whole)| writer.choice(index, whole));
    let answer = writer.answer(texts.collect(), Some(choices.usage()));
    Ok(Json(answer).into_response())
}

/// Writes choices in a completion's form.
struct Writer {
    head: Head,
    tokenizer: Arc<Tokenizer>,
    /// Where the next token of each choice begins in its text, in characters.
    offsets: Vec<usize>,
    /// What each choice repeats first.
    echoes: Vec<String>,
}

impl Writer {
    fn answer(&self, choices: Vec<CompletionChoice>, usage: Option<Usage>) -> CompletionAnswer {
        CompletionAnswer {
            id: self.head.id.clone(),
            object: "text_completion",
            created: self.head.created,
            model: self.head.model.clone(),
            system_fingerprint: Head::fingerprint(),
            choices,
            usage,
        }
    }

    fn choice(&self, index: usize, whole: Whole) -> CompletionChoice {
        CompletionChoice {
            index,
            text: self.echoes[index].clone() + &whole.text,
            logprobs: logprobs::completion(&self.tokenizer, &whole.tokens, &mut 0),
            finish_reason: Some(whole.reason),
        }
    }
}

impl Chunks for Writer {
    type Chunk = CompletionAnswer;

    fn begin(&mut self, index: usize) -> Option<CompletionAnswer> {
        let text = std::mem::take(&mut self.echoes[index]);
        (!text.is_empty()).then(|| {
            let echo = CompletionChoice {
                index,
                text,
                logprobs: None,
                finish_reason: None,
            };
            self.answer(vec![echo], None)
        })
    }

    fn event(&mut self, index: usize, event: ChoiceEvent) -> Option<CompletionAnswer> {
        let choice = match event {
            ChoiceEvent::Token(token) => {
                let offset = &mut self.offsets[index];
                let tokens = std::slice::from_ref(&token);
                let logprobs = logprobs::completion(&self.tokenizer, tokens, offset);
                if token.text.is_empty() && logprobs.is_none() {
                    return None;
                }
                CompletionChoice {
                    index,
                    text: token.text,
                    logprobs,
                    finish_reason: None,
                }
            }
            ChoiceEvent::End { text, reason } => CompletionChoice {
                index,
                text,
                logprobs: None,
                finish_reason: Some(reason),
            },
        };
        Some(self.answer(vec![choice], None))
    }

    fn usage(&mut self, usage: Usage) -> CompletionAnswer {
        self.answer(Vec::new(), Some(usage))
    }
}
