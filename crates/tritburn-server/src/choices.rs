//! The events of a request's choices, counted and logged on their way.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use futures_util::stream::{SelectAll, Stream, StreamExt, select_all};
use tracing::Span;
use tritburn_models::engine::{Event, FinishReason, Finished, Generation, Token};

use crate::error::ApiError;
use crate::openai::Usage;
use crate::state::AppState;

/// The events of all choices of all prompts of a request: choice `c` of prompt `p` has the number
/// `p · n + c`. Dropping it cancels the request.
pub struct Choices {
    events: SelectAll<Numbered>,
    /// When each choice had its last token.
    last: Vec<Option<Instant>>,
    per_prompt: usize,
    usage: Usage,
    state: AppState,
    span: Span,
}

/// A generation and the number of its first choice.
struct Numbered {
    first: usize,
    generation: Generation,
}

impl Stream for Numbered {
    type Item = (usize, Event);

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let event = ready!(self.generation.poll_next_unpin(context));
        Poll::Ready(event.map(|event| (self.first, event)))
    }
}

/// Something that happened to a choice.
#[derive(Debug)]
pub enum ChoiceEvent {
    /// A token.
    Token(Token),
    /// The last text, and OpenAI's reason.
    End {
        /// Text that was held back until now.
        text: String,
        /// `stop` or `length`.
        reason: &'static str,
    },
}

impl Choices {
    /// Of the generations of a request's prompts, `per_prompt` choices each.
    pub fn new(state: &AppState, generations: Vec<Generation>, per_prompt: usize) -> Self {
        let numbered = generations.into_iter().enumerate();
        let numbered: Vec<_> = numbered
            .map(|(prompt, generation)| Numbered {
                first: prompt * per_prompt,
                generation,
            })
            .collect();
        Self {
            last: vec![None; numbered.len() * per_prompt],
            per_prompt,
            events: select_all(numbered),
            usage: Usage::default(),
            state: state.clone(),
            span: Span::current(),
        }
    }

    /// How many choices there are.
    pub fn count(&self) -> usize {
        self.last.len()
    }

    /// What the choices took that have ended.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// The next event, with the number of its choice; `None` behind the last one.
    ///
    /// # Errors
    /// [`ApiError`] for a choice that fails or runs out of time: the others are not worth waiting for.
    pub async fn next(&mut self) -> Option<Result<(usize, ChoiceEvent), ApiError>> {
        let (first, event) = self.events.next().await?;
        Some(match event {
            Event::Token(token) => {
                let index = first + token.choice;
                if let Some(last) = self.last[index].replace(token.at) {
                    let after = token.at.saturating_duration_since(last);
                    self.state.metrics.token(after);
                }
                Ok((index, ChoiceEvent::Token(token)))
            }
            Event::Finished(finished) => self.finish(first, finished),
            _ => Err(ApiError::internal("the engine said something unknown")),
        })
    }

    fn finish(
        &mut self,
        first: usize,
        finished: Finished,
    ) -> Result<(usize, ChoiceEvent), ApiError> {
        let Finished {
            choice,
            reason,
            text,
            usage,
            ..
        } = finished;
        let index = first + choice;
        let name = reason_name(&reason);
        self.state.metrics.finish(name, &usage);
        self.span.in_scope(|| {
            tracing::info!(
                choice = index,
                reason = name,
                prompt_tokens = usage.prompt_tokens,
                cached_tokens = usage.cached_tokens,
                generated_tokens = usage.generated_tokens,
                queue_s = usage.queue_time.as_secs_f64(),
                first_token_s = usage.first_token_time.as_secs_f64(),
                total_s = usage.total_time.as_secs_f64(),
                "answered"
            );
        });
        // The choices of a prompt share it.
        let prompt = match choice {
            0 => Usage::new(usage.prompt_tokens, usage.cached_tokens, 0),
            _ => Usage::default(),
        };
        self.usage.add(prompt);
        self.usage.add(Usage::new(0, 0, usage.generated_tokens));
        match reason {
            FinishReason::Stop(_) | FinishReason::Length => {
                Ok((index, ChoiceEvent::End { text, reason: name }))
            }
            FinishReason::Deadline => Err(ApiError::deadline(format!(
                "the answer was not done within {:.1} s",
                usage.total_time.as_secs_f64()
            ))),
            FinishReason::Failed(failure) => {
                tracing::error!(%failure, "an answer failed");
                let error = ApiError::internal(failure.to_string());
                Err(match self.state.is_ready() {
                    true => error,
                    false => ApiError::no_engine(failure.to_string()),
                })
            }
            _ => Err(ApiError::internal("the request was cancelled")),
        }
    }

    /// Of which prompt a choice is.
    pub fn prompt_of(&self, index: usize) -> usize {
        index / self.per_prompt
    }
}

impl Drop for Choices {
    fn drop(&mut self) {
        if !self.events.is_empty() {
            self.span
                .in_scope(|| tracing::info!("cancelled: nobody waits for the answer"));
        }
    }
}

/// OpenAI's name of a reason, and vLLM's where OpenAI has none.
fn reason_name(reason: &FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop(_) => "stop",
        FinishReason::Length => "length",
        FinishReason::Cancelled | FinishReason::Deadline => "abort",
        _ => "error",
    }
}
