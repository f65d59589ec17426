//! Answers on their way to a client: whole, or as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::HeaderName;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde::Serialize;
use uuid::Uuid;

use crate::choices::{ChoiceEvent, Choices};
use crate::error::ApiError;
use crate::openai::Usage;
use crate::served::now;

/// Closes a stream, as OpenAI's clients expect.
const DONE: &str = "[DONE]";
/// A comment goes out when nothing else does for so long: proxies close silent connections.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Tells nginx to pass events on at once.
const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What every answer and chunk of a request begins with.
#[derive(Clone, Debug)]
pub struct Head {
    /// Names the answer.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model.
    pub model: String,
}

impl Head {
    /// Of a new answer, whose name begins with `kind`.
    pub fn new(kind: &str, model: &str) -> Self {
        Self {
            id: format!("{kind}-{}", Uuid::new_v4().simple()),
            created: now(),
            model: model.into(),
        }
    }

    /// Names what answers may depend on besides the request.
    pub fn fingerprint() -> String {
        concat!("tritburn-", env!("CARGO_PKG_VERSION")).into()
    }
}

/// From what happens to choices to chunks of a stream.
pub trait Chunks: Send + 'static {
    /// A chunk.
    type Chunk: Serialize;

    /// What opens a choice.
    fn begin(&mut self, index: usize) -> Option<Self::Chunk>;

    /// What an event of a choice becomes.
    fn event(&mut self, index: usize, event: ChoiceEvent) -> Option<Self::Chunk>;

    /// The numbers of tokens, behind all choices.
    fn usage(&mut self, usage: Usage) -> Self::Chunk;
}

/// Sends the chunks of an answer as they come, and its usage at the end if `with_usage`.
pub fn stream<C: Chunks>(choices: Choices, mut chunks: C, with_usage: bool) -> Response {
    let queue: VecDeque<Event> = (0..choices.count())
        .filter_map(|index| chunks.begin(index))
        .map(|chunk| event(&chunk))
        .collect();
    let stream = Stream {
        queue,
        choices,
        chunks,
        with_usage,
        over: false,
    };
    let events = unfold(stream, |mut stream| async move {
        let event = stream.next().await?;
        Some((Ok::<_, Infallible>(event), stream))
    });
    let events = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    let headers = [(NO_BUFFERING, HeaderValue::from_static("no"))];
    (headers, events).into_response()
}

struct Stream<C> {
    /// Events that are ready.
    queue: VecDeque<Event>,
    choices: Choices,
    chunks: C,
    with_usage: bool,
    over: bool,
}

impl<C: Chunks> Stream<C> {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            if self.over {
                return None;
            }
            match self.choices.next().await {
                Some(Ok((index, happened))) => {
                    let chunk = self.chunks.event(index, happened);
                    self.queue.extend(chunk.map(|chunk| event(&chunk)));
                }
                Some(Err(error)) => {
                    self.over = true;
                    self.queue.push_back(event(&error.body()));
                }
                None => {
                    self.over = true;
                    if self.with_usage {
                        let usage = self.chunks.usage(self.choices.usage());
                        self.queue.push_back(event(&usage));
                    }
                    self.queue.push_back(Event::default().data(DONE));
                }
            }
        }
    }
}

fn event(data: &impl Serialize) -> Event {
    let event = Event::default().json_data(data);
    // The types of answers have nothing that JSON cannot say.
    event.unwrap_or_else(|error| {
        tracing::error!(%error, "a chunk is no JSON");
        Event::default().comment("lost")
    })
}

/// A choice that has come to its end.
#[derive(Clone, Debug, Default)]
pub struct Whole {
    /// Its text.
    pub text: String,
    /// Its tokens, with the text that was certain behind each, and their probabilities if asked for.
    pub tokens: Vec<tritburn_models::engine::Token>,
    /// Why it ended.
    pub reason: &'static str,
}

/// Waits for all choices.
///
/// # Errors
/// That of the first choice that has one.
pub async fn collect(choices: &mut Choices) -> Result<Vec<Whole>, ApiError> {
    let mut whole = vec![Whole::default(); choices.count()];
    while let Some(event) = choices.next().await {
        let (index, event) = event?;
        let whole = &mut whole[index];
        match event {
            ChoiceEvent::Token(token) => {
                whole.text += &token.text;
                if token.logprobs.is_some() {
                    whole.tokens.push(token);
                }
            }
            ChoiceEvent::End { text, reason } => {
                whole.text += &text;
                whole.reason = reason;
            }
        }
    }
    Ok(whole)
}
