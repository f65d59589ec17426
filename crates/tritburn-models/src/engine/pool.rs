//! Several engines, for instance one a device, behind one door.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Engine, EngineError, EngineStats, Generation, Request, SubmitError};

/// Tokens of a step of a prefix, by which prompts are recognised.
const STEP: usize = 64;
/// Steps of a prompt that are looked at.
const STEPS: usize = 64;
/// Prefixes that are remembered.
const PREFIXES: usize = 1 << 16;
/// Requests by which an engine that knows a prompt's beginning may be busier than the idlest one.
const PATIENCE: usize = 4;

/// Engines of one model. A request goes to the engine that has read the longest beginning of its prompt
/// before, unless that one is much busier than another, else to the one with the least to do. An engine
/// that has stopped gets none.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use burn::tensor::Device;
/// use tritburn_models::checkpoint::Synthetic;
/// use tritburn_models::engine::{Engine, EngineOptions, EnginePool, Request};
/// use tritburn_models::model::LoadOptions;
/// use tritburn_models::{CausalLm, DecoderConfig};
///
/// let engine = || {
///     let checkpoint = Synthetic::new(DecoderConfig::tiny(), 1)?;
///     let model = CausalLm::load(&checkpoint, &LoadOptions::default(), &Device::flex())?;
///     let options = EngineOptions { max_sequences: 2, ..Default::default() };
///     Ok::<_, Box<dyn std::error::Error>>(Engine::start(Arc::new(model), None, options)?)
/// };
/// let pool = EnginePool::new(vec![engine()?, engine()?])?;
/// let request = Request { max_new_tokens: Some(4), ..Request::new([1, 2, 3]) };
/// assert_eq!(pool.submit(request)?.collect_blocking()[0].ids.len(), 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct EnginePool {
    engines: Vec<Engine>,
    /// Who read a beginning of a prompt last.
    readers: Mutex<HashMap<u64, usize>>,
}

impl EnginePool {
    /// A pool of `engines`, which serve the same model.
    ///
    /// # Errors
    /// [`EngineError::NoEngine`] without any.
    pub fn new(engines: Vec<Engine>) -> Result<Self, EngineError> {
        match engines.is_empty() {
            true => Err(EngineError::NoEngine),
            false => Ok(Self {
                engines,
                readers: Mutex::default(),
            }),
        }
    }

    /// The engines.
    pub fn engines(&self) -> &[Engine] {
        &self.engines
    }

    /// Takes a request for one of the engines.
    ///
    /// # Errors
    /// As [`Engine::submit`]. A request that one engine has no room for goes to the next; it is refused as
    /// the last of them refuses it.
    pub fn submit(&self, request: Request) -> Result<Generation, SubmitError> {
        let prefixes = prefixes(&request.prompt);
        let mut refused = SubmitError::ShuttingDown;
        for at in self.order(&prefixes) {
            match self.engines[at].submit(request.clone()) {
                Ok(generation) => {
                    self.remember(prefixes, at);
                    return Ok(generation);
                }
                Err(
                    error @ (SubmitError::QueueFull { .. }
                    | SubmitError::Stopped { .. }
                    | SubmitError::ShuttingDown),
                ) => refused = error,
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }

    /// Whether an engine takes requests.
    pub fn is_alive(&self) -> bool {
        self.engines.iter().any(Engine::is_alive)
    }

    /// What each engine has done and does.
    pub fn stats(&self) -> Vec<EngineStats> {
        self.engines.iter().map(Engine::stats).collect()
    }

    /// Shuts all engines down, see [`Engine::shutdown`], within `grace` for all of them; how many choices
    /// were not done.
    pub fn shutdown(&self, grace: Duration) -> usize {
        let until = Instant::now() + grace;
        for engine in &self.engines {
            engine.drain(grace);
        }
        let left = self
            .engines
            .iter()
            .map(|engine| engine.shutdown(until.saturating_duration_since(Instant::now())));
        left.sum()
    }

    /// The engines in the order in which a request is offered to them; those that stopped come last.
    fn order(&self, prefixes: &[u64]) -> Vec<usize> {
        let readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = prefixes.iter().rev().find_map(|prefix| readers.get(prefix));
        let known = known.copied();
        drop(readers);
        let load = |engine: &Engine| {
            let stats = engine.stats();
            (!engine.is_alive(), stats.running + stats.waiting)
        };
        let loads: Vec<_> = self.engines.iter().map(load).collect();
        let mut order: Vec<_> = (0..loads.len()).collect();
        order.sort_by_key(|&at| loads[at]);
        if let Some(known) = known
            && loads[known] <= (false, loads[order[0]].1 + PATIENCE)
        {
            order.retain(|&at| at != known);
            order.insert(0, known);
        }
        order
    }

    fn remember(&self, prefixes: Vec<u64>, engine: usize) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() + prefixes.len() > PREFIXES {
            // Those in use come again.
            readers.clear();
        }
        readers.extend(prefixes.into_iter().map(|prefix| (prefix, engine)));
    }
}

/// What stands for the beginnings of a prompt, the shortest first.
fn prefixes(prompt: &[u32]) -> Vec<u64> {
    let mut hasher = DefaultHasher::new();
    let steps = prompt.chunks_exact(STEP).take(STEPS);
    let prefixes = steps.map(|step| {
        step.hash(&mut hasher);
        hasher.finish()
    });
    prefixes.collect()
}
