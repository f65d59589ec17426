//! The handle of an engine.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use burn::tensor::StreamId;
use tritburn::device::panic_message;

use super::generation::Generation;
use super::shared::{Phase, Shared, Submission};
use super::structure::Grammars;
use super::worker::Worker;
use super::{EngineError, EngineOptions, EngineStats, Failure, Request, SubmitError, check};
use crate::CausalLm;
use crate::text::Tokenizer;

/// Many requests at once on one model and device: see the [module](super).
///
/// Clones are handles of the same engine. When the last one is dropped, the engine ends, and open requests
/// fail with [`Failure::Shutdown`].
#[derive(Clone)]
pub struct Engine(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    model: Arc<CausalLm>,
    tokenizer: Option<Arc<Tokenizer>>,
    grammars: Grammars,
    limits: check::Limits,
    next_id: AtomicU64,
}

impl Engine {
    /// Starts an engine: a thread that owns the device's work, with a cache as `options` say. Call it from
    /// the thread that loaded `model`, which then leaves the device to the engine: both use one queue of
    /// the device.
    ///
    /// Without a `tokenizer` events have no text, and requests with stop texts or structure are refused.
    ///
    /// # Errors
    /// [`EngineError`]: sizes of zero, a context that the model does not have, or a device that fails.
    pub fn start(
        model: Arc<CausalLm>,
        tokenizer: Option<Arc<Tokenizer>>,
        options: EngineOptions,
    ) -> Result<Self, EngineError> {
        options.validate()?;
        let shared = Arc::new(Shared::new(options.max_waiting));
        let (started, start) = mpsc::channel();
        let worker = {
            let (model, tokenizer) = (model.clone(), tokenizer.clone());
            let (shared, options) = (shared.clone(), options.clone());
            let stream = StreamId::current();
            move || {
                stream.executes(|| work(&model, tokenizer.as_deref(), &options, &shared, &started))
            }
        };
        let thread = std::thread::Builder::new().name("tritburn-engine".into());
        let thread = thread.spawn(worker).map_err(|error| EngineError::Start {
            reason: error.to_string(),
        })?;
        let limits = match start.recv() {
            Ok(started) => started?,
            // The thread ended without a word.
            Err(_) => {
                return Err(EngineError::Start {
                    reason: shared.failure().to_string(),
                });
            }
        };
        Ok(Self(Arc::new(Handle {
            shared,
            thread: Mutex::new(Some(thread)),
            grammars: Grammars::default(),
            model,
            tokenizer,
            limits,
            next_id: AtomicU64::new(0),
        })))
    }

    /// Takes a request, or refuses it. Does not wait for others; compiling the structure of an answer may
    /// take some milliseconds.
    ///
    /// # Errors
    /// [`SubmitError`], which names what is wrong with the request, or says that the queue is full.
    pub fn submit(&self, request: Request) -> Result<Generation, SubmitError> {
        let handle = &*self.0;
        let max_new_tokens = check::request(&request, &handle.limits, handle.tokenizer.is_some())?;
        let grammar = match (&request.structure, &handle.tokenizer) {
            (Some(structure), Some(tokenizer)) => {
                let grammars = &handle.grammars;
                Some(grammars.compile(structure, tokenizer, handle.model.config())?)
            }
            _ => None,
        };
        let id = handle.next_id.fetch_add(1, Ordering::Relaxed);
        let choices = request.choices;
        // As many as there are tokens, at most.
        let (sender, receiver) = async_channel::unbounded();
        let cancelled = Arc::new(AtomicBool::new(false));
        let submission = Submission {
            request,
            max_new_tokens,
            grammar,
            events: sender,
            cancelled: cancelled.clone(),
            submitted: Instant::now(),
        };
        handle.shared.push(submission)?;
        let shared = handle.shared.clone();
        Ok(Generation::new(id, choices, receiver, cancelled, shared))
    }

    /// Whether the engine takes requests: false after a failure of its device or thread, and once it is
    /// shutting down.
    pub fn is_alive(&self) -> bool {
        self.0.shared.lock().phase == Phase::Open
    }

    /// What it has done and does.
    pub fn stats(&self) -> EngineStats {
        let state = self.0.shared.lock();
        let mut stats = state.stats.clone();
        stats.waiting += state.waiting.len();
        stats
    }

    /// Positions of a sequence, prompt and answer together.
    pub fn context(&self) -> usize {
        self.0.limits.context
    }

    /// The model.
    pub fn model(&self) -> &Arc<CausalLm> {
        &self.0.model
    }

    /// The tokenizer, if it was started with one.
    pub fn tokenizer(&self) -> Option<&Arc<Tokenizer>> {
        self.0.tokenizer.as_ref()
    }

    /// Takes no more requests, waits until those taken are done, for `grace` at most, and ends the engine.
    /// What is not done then finishes as failed by [`Failure::Shutdown`], with the tokens it has. Returns
    /// how many choices that were.
    pub fn shutdown(&self, grace: Duration) -> usize {
        self.drain(grace);
        let handle = &*self.0;
        let thread = handle
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // A panic was caught and told already.
            let _ = thread.join();
        }
        handle.shared.lock().left
    }

    /// As [`shutdown`](Self::shutdown), without waiting for the end.
    pub fn drain(&self, grace: Duration) {
        self.0.shared.drain(grace);
    }

    /// Lets the device fail with the next step, for tests of what then happens.
    #[doc(hidden)]
    pub fn inject_failure(&self, reason: &str) {
        self.0.shared.lock().injected = Some(reason.into());
        self.0.shared.wake();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.drain(Duration::ZERO);
    }
}

/// The engine's thread.
fn work(
    model: &Arc<CausalLm>,
    tokenizer: Option<&Tokenizer>,
    options: &EngineOptions,
    shared: &Shared,
    started: &mpsc::Sender<Result<check::Limits, EngineError>>,
) {
    // Devices panic where they have no error to give.
    let new = catch_unwind(AssertUnwindSafe(|| {
        Worker::new(model, tokenizer, options, shared)
    }));
    let new = new.unwrap_or_else(|cause| {
        Err(EngineError::Start {
            reason: panic_message(cause.as_ref()),
        })
    });
    let mut worker = match new {
        Ok(worker) => worker,
        Err(error) => {
            // Whoever started it waits for the answer.
            let _ = started.send(Err(error));
            return;
        }
    };
    let _ = started.send(Ok(worker.limits()));
    if let Err(cause) = catch_unwind(AssertUnwindSafe(|| worker.run())) {
        let reason = panic_message(cause.as_ref());
        tracing::error!(reason, "the engine's thread panicked");
        worker.end_all(&Failure::Device { reason });
    }
}
