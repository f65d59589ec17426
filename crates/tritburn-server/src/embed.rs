//! Texts to vectors, several at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use burn::tensor::StreamId;
use tokio::sync::oneshot;
use tritburn_models::CausalLm;
use tritburn_models::generate::Session;
use tritburn_models::model::ModelError;

use crate::error::ApiError;

/// Requests that wait at most.
const QUEUE: usize = 256;

/// A thread that turns token ids into vectors: the state behind the last token, at a length of 1.
#[derive(Clone)]
pub struct Embedder {
    jobs: SyncSender<Job>,
    alive: Arc<AtomicBool>,
    model: Arc<CausalLm>,
}

struct Job {
    ids: Vec<Vec<u32>>,
    vectors: oneshot::Sender<Result<Vec<Vec<f32>>, ApiError>>,
}

impl Embedder {
    /// Starts the thread, which runs `batch` texts at once. Call this from the thread that loaded `model`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(model: Arc<CausalLm>, batch: usize) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE);
        let alive = Arc::new(AtomicBool::new(true));
        let (worker, life) = (model.clone(), alive.clone());
        let stream = StreamId::current();
        thread::Builder::new()
            .name("tritburn-embed".into())
            .spawn(move || {
                let _life = Life(life);
                stream.executes(|| work(&worker, &queue, batch.max(1)));
            })?;
        Ok(Self { jobs, alive, model })
    }

    /// The vectors of several texts' ids.
    ///
    /// # Errors
    /// [`ApiError`] for empty texts, texts longer than the context, a full queue and a device that fails.
    pub async fn embed(&self, ids: Vec<Vec<u32>>) -> Result<Vec<Vec<f32>>, ApiError> {
        let context = self.context();
        for (index, ids) in ids.iter().enumerate() {
            if ids.is_empty() {
                return Err(ApiError::value("input", format!("text {index} is empty")));
            }
            if ids.len() > context {
                let message = format!(
                    "text {index} has {} tokens, the model {context} positions",
                    ids.len()
                );
                return Err(ApiError::too_long("input", message));
            }
            let vocabulary = self.model.config().vocab_size;
            if let Some(id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
                let message = format!(
                    "token {id} of text {index} is not among the {vocabulary} of the model"
                );
                return Err(ApiError::value("input", message));
            }
        }
        let (vectors, done) = oneshot::channel();
        self.jobs
            .try_send(Job { ids, vectors })
            .map_err(|error| match error {
                TrySendError::Full(_) => ApiError::overloaded(format!(
                    "{QUEUE} requests wait already, the queue holds no more"
                )),
                TrySendError::Disconnected(_) => {
                    ApiError::no_engine("the embedding thread has ended")
                }
            })?;
        let gone = |_| ApiError::no_engine("the embedding thread has ended");
        done.await.map_err(gone)?
    }

    /// Elements of a vector.
    pub fn size(&self) -> usize {
        self.model.config().hidden_size
    }

    /// Tokens of a text at most.
    pub fn context(&self) -> usize {
        self.model.config().max_position_embeddings
    }

    /// The model.
    pub fn model(&self) -> &Arc<CausalLm> {
        &self.model
    }

    /// Whether its thread runs.
    pub fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }
}

/// Tells when the thread has ended, by a panic too.
struct Life(Arc<AtomicBool>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

fn work(model: &Arc<CausalLm>, queue: &Receiver<Job>, batch: usize) {
    while let Ok(job) = queue.recv() {
        if job.vectors.is_closed() {
            continue;
        }
        let vectors = vectors(model, &job.ids, batch);
        let vectors = vectors.map_err(|error| ApiError::internal(error.to_string()));
        // Nobody waits any more if the caller has gone.
        let _ = job.vectors.send(vectors);
    }
}

fn vectors(
    model: &Arc<CausalLm>,
    ids: &[Vec<u32>],
    batch: usize,
) -> Result<Vec<Vec<f32>>, ModelError> {
    let mut vectors = Vec::with_capacity(ids.len());
    for ids in ids.chunks(batch) {
        let prompts: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
        let longest = prompts.iter().map(|ids| ids.len()).max().unwrap_or(1);
        let mut session = Session::new(model.clone(), prompts.len(), longest)?;
        vectors.extend(session.embed(&prompts)?);
    }
    Ok(vectors)
}
