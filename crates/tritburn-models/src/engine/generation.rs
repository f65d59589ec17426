//! The answer to a request, as it comes.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use async_channel::{Receiver, TryRecvError};
use futures_core::Stream;

use super::event::{Event, FinishReason, Finished, Usage};
use super::shared::Shared;

/// The events of a request, in order: the tokens of each choice, then that it finished. The choices of a
/// request come mixed. After the last choice's end there are none.
///
/// Events can be waited for by a thread ([`recv_blocking`](Self::recv_blocking)) or by a task of any
/// executor ([`recv`](Self::recv), or as a [`Stream`]). Dropping a generation cancels its request. What is
/// not read is kept: at most an event a token and one a choice.
#[must_use = "dropping a generation cancels its request"]
pub struct Generation {
    id: u64,
    events: Pin<Box<Receiver<Event>>>,
    /// Choices that have not finished.
    open: Vec<bool>,
    cancelled: Arc<AtomicBool>,
    shared: Arc<Shared>,
}

/// A whole choice, as [`Generation::collect_blocking`] returns it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Completion {
    /// Its tokens, a stop token included.
    pub ids: Vec<u32>,
    /// Its text.
    pub text: String,
    /// Why it ended.
    pub reason: FinishReason,
    /// What it took.
    pub usage: Usage,
}

impl Generation {
    pub(super) fn new(
        id: u64,
        choices: usize,
        events: Receiver<Event>,
        cancelled: Arc<AtomicBool>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            id,
            events: Box::pin(events),
            open: vec![true; choices],
            cancelled,
            shared,
        }
    }

    /// A number that no other request of this engine has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The next event; `None` after the last.
    pub async fn recv(&mut self) -> Option<Event> {
        let received = self.events.recv().await.ok();
        self.take(received)
    }

    /// The next event, waiting for it on this thread; `None` after the last.
    pub fn recv_blocking(&mut self) -> Option<Event> {
        let received = pollster::block_on(self.events.recv()).ok();
        self.take(received)
    }

    /// The next event if there is one already. `None` does not say that it was the last.
    pub fn try_recv(&mut self) -> Option<Event> {
        match self.events.try_recv() {
            Ok(event) => self.take(Some(event)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Closed) => self.take(None),
        }
    }

    /// Whether all choices have finished, as far as events were read.
    pub fn is_finished(&self) -> bool {
        !self.open.contains(&true)
    }

    /// Ends the request: open choices finish as [`FinishReason::Cancelled`] with the next step.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.shared.wake();
    }

    /// Waits for all choices and returns them, in their order.
    pub fn collect_blocking(mut self) -> Vec<Completion> {
        let empty = || Completion {
            ids: Vec::new(),
            text: String::new(),
            reason: FinishReason::Cancelled,
            usage: Usage::default(),
        };
        let mut choices: Vec<_> = self.open.iter().map(|_| empty()).collect();
        while let Some(event) = self.recv_blocking() {
            match event {
                Event::Token(token) => {
                    let choice = &mut choices[token.choice];
                    choice.ids.push(token.id);
                    choice.text.push_str(&token.text);
                }
                Event::Finished(finished) => {
                    let choice = &mut choices[finished.choice];
                    choice.text.push_str(&finished.text);
                    choice.reason = finished.reason;
                    choice.usage = finished.usage;
                }
            }
        }
        choices
    }

    /// Notes which choices have finished. An engine that stopped without a word has failed.
    fn take(&mut self, received: Option<Event>) -> Option<Event> {
        let event = match received {
            Some(event) => event,
            None => Event::Finished(Finished {
                choice: self.open.iter().position(|&open| open)?,
                reason: FinishReason::Failed(self.shared.failure()),
                text: String::new(),
                usage: Usage::default(),
            }),
        };
        if let Event::Finished(finished) = &event {
            self.open[finished.choice] = false;
        }
        Some(event)
    }
}

impl Stream for Generation {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let received = self.events.as_mut().poll_next(context);
        received.map(|received| self.take(received))
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if !self.is_finished() {
            self.cancel();
        }
    }
}
