//! What all requests share.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::spawn_blocking;
use tritburn_models::engine::{Engine, EnginePool};

use crate::embed::Embedder;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::options::ServerOptions;
use crate::served::{ModelText, now};

/// What answers requests.
#[derive(Clone)]
pub enum Backend {
    /// Engines that continue prompts, one a device.
    Text(Arc<EnginePool>),
    /// A model whose states are the answer.
    Embedding(Embedder),
}

/// A model, and how it is served.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// What [`AppState`] points to.
pub struct Shared {
    /// How the server behaves.
    pub options: ServerOptions,
    /// The model's name.
    pub name: String,
    /// Its text.
    pub text: ModelText,
    /// What answers.
    pub backend: Backend,
    /// What is counted.
    pub metrics: Metrics,
    /// When it was loaded, in seconds since 1970.
    pub created: u64,
    draining: AtomicBool,
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl AppState {
    /// A model under a name.
    pub fn new(
        name: impl Into<String>,
        text: ModelText,
        backend: Backend,
        options: ServerOptions,
    ) -> Self {
        let name = name.into();
        let engines = match &backend {
            Backend::Text(engines) => Some(engines.clone()),
            Backend::Embedding(_) => None,
        };
        Self(Arc::new(Shared {
            metrics: Metrics::new(&name, engines),
            options,
            name,
            text,
            backend,
            created: now(),
            draining: AtomicBool::new(false),
        }))
    }

    /// Takes no more requests.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Runs what takes long or waits, beside the threads that answer.
    ///
    /// # Errors
    /// Those of `work`; [`ApiError::internal`] if it panics.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let this = self.clone();
        let done = spawn_blocking(move || work(&this)).await;
        done.map_err(|_| ApiError::internal("the request could not be prepared"))?
    }
}

impl Shared {
    /// Whether no more requests are taken.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Refuses the name of another model.
    ///
    /// # Errors
    /// [`ApiError::no_model`].
    pub fn check_model(&self, name: Option<&str>) -> Result<(), ApiError> {
        match name {
            Some(name) if name != self.name => Err(ApiError::no_model(name, &self.name)),
            _ => Ok(()),
        }
    }

    /// The engines that continue prompts.
    ///
    /// # Errors
    /// [`ApiError::malformed`] for a model that does not.
    pub fn engines(&self) -> Result<&EnginePool, ApiError> {
        match &self.backend {
            Backend::Text(engines) => Ok(engines),
            Backend::Embedding(_) => Err(ApiError::malformed(
                "this server makes embeddings and continues no prompts",
            )),
        }
    }

    /// Positions of a prompt with its answer.
    pub fn context(&self) -> usize {
        match &self.backend {
            Backend::Text(engines) => {
                let contexts = engines.engines().iter().map(Engine::context);
                contexts.min().unwrap_or_default()
            }
            Backend::Embedding(embedder) => embedder.context(),
        }
    }

    /// Tokens that the model knows.
    pub fn vocabulary(&self) -> usize {
        let model = match &self.backend {
            Backend::Text(engines) => engines.engines().first().map(Engine::model),
            Backend::Embedding(embedder) => Some(embedder.model()),
        };
        model.map_or(0, |model| model.config().vocab_size)
    }

    /// Writes a prompt to the log, if that is wanted.
    pub fn log_prompt(&self, prompt: impl FnOnce() -> String) {
        if self.options.log_prompts {
            tracing::info!(prompt = prompt(), "asked");
        }
    }

    /// Whether requests are answered.
    pub fn is_ready(&self) -> bool {
        let alive = match &self.backend {
            Backend::Text(engines) => engines.is_alive(),
            Backend::Embedding(embedder) => embedder.is_alive(),
        };
        alive && !self.is_draining()
    }
}
