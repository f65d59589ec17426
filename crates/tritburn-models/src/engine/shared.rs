//! What the handles of an engine and its worker share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_channel::Sender;

use super::structure::Grammar;
use super::{EngineStats, Event, Failure, FinishReason, Request, SubmitError};

/// A request that was taken.
pub(super) struct Submission {
    pub request: Request,
    /// New tokens at most.
    pub max_new_tokens: usize,
    pub grammar: Option<Grammar>,
    pub events: Sender<Event>,
    pub cancelled: Arc<AtomicBool>,
    pub submitted: Instant,
}

impl Submission {
    /// Why it is to end, if it is.
    pub fn ended(&self, now: Instant) -> Option<FinishReason> {
        if self.cancelled.load(Ordering::Relaxed) || self.events.is_closed() {
            return Some(FinishReason::Cancelled);
        }
        let late = self
            .request
            .deadline
            .is_some_and(|deadline| now >= deadline);
        late.then_some(FinishReason::Deadline)
    }
}

/// Where an engine stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Phase {
    /// It takes requests.
    Open,
    /// It takes no more, and goes on with those it has until then.
    Draining(Instant),
    /// It has ended.
    Ended(Failure),
}

pub(super) struct State {
    pub phase: Phase,
    pub waiting: VecDeque<Submission>,
    pub stats: EngineStats,
    /// Choices that were not done when the engine ended.
    pub left: usize,
    /// A device failure that a test asks for.
    pub injected: Option<String>,
}

pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    max_waiting: usize,
}

impl Shared {
    pub fn new(max_waiting: usize) -> Self {
        Self {
            state: Mutex::new(State {
                phase: Phase::Open,
                waiting: VecDeque::new(),
                stats: EngineStats::default(),
                left: 0,
                injected: None,
            }),
            changed: Condvar::new(),
            max_waiting,
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is whole by itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the worker look again.
    pub fn wake(&self) {
        // With the lock, so that a worker that is about to wait does not miss it.
        let _state = self.lock();
        self.changed.notify_all();
    }

    /// Takes no more requests, and ends after `grace`.
    pub fn drain(&self, grace: Duration) {
        let now = Instant::now();
        // A century, for those who say forever.
        let until = now
            .checked_add(grace)
            .unwrap_or(now + Duration::from_secs(3 << 30));
        let mut state = self.lock();
        if let Phase::Open | Phase::Draining(_) = state.phase {
            state.phase = Phase::Draining(until);
        }
        self.changed.notify_all();
    }

    /// Waits until something changed.
    pub fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        until: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        match until {
            None => self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let time = until.saturating_duration_since(Instant::now());
                let waited = self.changed.wait_timeout(state, time);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// Appends a request to the queue.
    pub fn push(&self, submission: Submission) -> Result<(), SubmitError> {
        let mut state = self.lock();
        match &state.phase {
            Phase::Open => {}
            Phase::Draining(_) | Phase::Ended(Failure::Shutdown) => {
                return Err(SubmitError::ShuttingDown);
            }
            Phase::Ended(failure) => {
                return Err(SubmitError::Stopped {
                    reason: failure.to_string(),
                });
            }
        }
        if state.waiting.len() >= self.max_waiting {
            state.stats.refused += 1;
            return Err(SubmitError::QueueFull {
                waiting: state.waiting.len(),
                limit: self.max_waiting,
            });
        }
        state.waiting.push_back(submission);
        self.changed.notify_all();
        Ok(())
    }

    /// Why a stream ended that nobody finished.
    pub fn failure(&self) -> Failure {
        match &self.lock().phase {
            Phase::Ended(failure) => failure.clone(),
            _ => Failure::Device {
                reason: "the engine's thread has ended".into(),
            },
        }
    }

    /// Takes the waiting requests that are to end, and why, out of the queue.
    pub fn take_ended(&self, now: Instant) -> Vec<(Submission, FinishReason)> {
        let mut state = self.lock();
        let mut ended = Vec::new();
        for submission in std::mem::take(&mut state.waiting) {
            match submission.ended(now) {
                Some(reason) => ended.push((submission, reason)),
                None => state.waiting.push_back(submission),
            }
        }
        ended
    }

    /// Ends the engine, with `left` choices that are not done: nobody is taken any more. Returns the requests
    /// that waited.
    pub fn end(&self, failure: Failure, left: usize) -> VecDeque<Submission> {
        let mut state = self.lock();
        if let Phase::Ended(_) = state.phase {
            return VecDeque::new();
        }
        let waiting: usize = state
            .waiting
            .iter()
            .map(|waiting| waiting.request.choices)
            .sum();
        state.left = left + waiting;
        state.phase = Phase::Ended(failure);
        state.stats.running = 0;
        state.stats.waiting = 0;
        state.stats.blocks_used = 0;
        self.changed.notify_all();
        std::mem::take(&mut state.waiting)
    }
}
