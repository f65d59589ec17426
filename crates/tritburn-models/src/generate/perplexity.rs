//! How well a model foretells a text: [`Perplexity`].

use std::sync::Arc;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};
use thiserror::Error;

use super::Session;
use crate::model::{CausalLm, ModelError};

/// Tokens whose logits exist at once: bounds the memory of a long window.
const CHUNK: usize = 256;

/// The tokens that a model sees ahead of those that are scored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Tokens of a window, those of `begin` included.
    pub context: usize,
    /// What is scored of it.
    pub scored: Scored,
    /// Tokens that every window begins with, mostly the one that begins a sequence.
    pub begin: Vec<u32>,
}

/// Which tokens of a window count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scored {
    /// All of the first window; then each window begins this many tokens further on, and its new ones
    /// count. Every token of the text counts once.
    Stride(usize),
    /// Windows lie side by side, and the second half of each counts, as in llama.cpp. What is left at the
    /// end, and does not fill a window, does not count; the first token of each gives way to `begin`.
    SecondHalf,
}

/// What a text costs a model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Perplexity {
    /// Tokens that count.
    pub tokens: u64,
    /// Their negative log-likelihood, in nats.
    pub nats: f64,
    /// The sum of the squares of each token's.
    squares: f64,
}

impl Perplexity {
    /// Nats per token.
    pub fn nats_per_token(&self) -> f64 {
        self.nats / self.tokens as f64
    }

    /// The exponential of that.
    pub fn perplexity(&self) -> f64 {
        self.nats_per_token().exp()
    }

    /// Standard error of the nats per token, as if tokens were independent; `None` of a single one.
    pub fn standard_error(&self) -> Option<f64> {
        let n = self.tokens as f64;
        let variance = self.squares / n - self.nats_per_token().powi(2);
        (self.tokens > 1).then(|| (variance.max(0.0) / (n - 1.0)).sqrt())
    }
}

/// Why a text has no perplexity.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PerplexityError {
    /// The model cannot run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Windows that hold nothing to score.
    #[error(
        "windows of {context} tokens, {begin} of them to begin with, and a stride of {stride}: there has to be \
         something to score in each, and no token left out"
    )]
    Windows {
        /// Tokens of a window.
        context: usize,
        /// Those that every window begins with.
        begin: usize,
        /// Tokens from one window to the next.
        stride: usize,
    },
    /// Too little text.
    #[error("{found} tokens are too few to score, at least {least} are needed")]
    Short {
        /// Tokens given.
        found: u64,
        /// Tokens needed.
        least: usize,
    },
    /// A likelihood that is no number.
    #[error(
        "the likelihood of token {index} of the text is no finite number: the model computes nonsense"
    )]
    NotFinite {
        /// Index of the token.
        index: u64,
    },
}

/// Scores a text that comes piece by piece; only one window of it is kept.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use burn::tensor::Device;
/// use tritburn_models::checkpoint::Synthetic;
/// use tritburn_models::generate::{Scored, Scorer, Windows};
/// use tritburn_models::model::LoadOptions;
/// use tritburn_models::{CausalLm, DecoderConfig};
///
/// let checkpoint = Synthetic::new(DecoderConfig::tiny(), 1)?;
/// let model = CausalLm::load(&checkpoint, &LoadOptions::default(), &Device::flex())?;
/// let windows = Windows { context: 16, scored: Scored::Stride(8), begin: vec![1] };
/// let mut scorer = Scorer::new(Arc::new(model), windows)?;
/// scorer.push(&[5; 20])?;
/// scorer.push(&[7; 20])?;
/// let found = scorer.finish()?;
/// assert_eq!(found.tokens, 40);
/// assert!(found.perplexity() > 1.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Scorer {
    session: Session,
    windows: Windows,
    /// The text of the present window.
    window: Vec<u32>,
    /// How much of it has been scored.
    scored: usize,
    /// Index in the text of its first token.
    start: u64,
    sum: Perplexity,
}

impl Scorer {
    /// Scores with `model`.
    ///
    /// # Errors
    /// [`PerplexityError::Windows`], and [`PerplexityError::Model`] for windows longer than the model's
    /// positions.
    pub fn new(model: Arc<CausalLm>, windows: Windows) -> Result<Self, PerplexityError> {
        let (context, begin) = (windows.context, windows.begin.len());
        let room = context.saturating_sub(begin);
        let (sound, stride) = match windows.scored {
            Scored::Stride(stride) => ((1..=room).contains(&stride), stride),
            Scored::SecondHalf => (context >= 4 && begin <= context / 2, context),
        };
        if !sound {
            return Err(PerplexityError::Windows {
                context,
                begin,
                stride,
            });
        }
        Ok(Self {
            session: Session::new(model, 1, context)?,
            windows,
            window: Vec::with_capacity(context),
            scored: 0,
            start: 0,
            sum: Perplexity::default(),
        })
    }

    /// Takes more of the text.
    ///
    /// # Errors
    /// [`PerplexityError::NotFinite`], [`PerplexityError::Model`].
    pub fn push(&mut self, mut ids: &[u32]) -> Result<(), PerplexityError> {
        let size = match self.windows.scored {
            Scored::Stride(_) => self.windows.context - self.windows.begin.len(),
            Scored::SecondHalf => self.windows.context,
        };
        while !ids.is_empty() {
            let (new, rest) = ids.split_at(ids.len().min(size - self.window.len()));
            self.window.extend(new);
            ids = rest;
            if self.window.len() == size {
                self.run()?;
                let gone = match self.windows.scored {
                    Scored::Stride(stride) => stride,
                    Scored::SecondHalf => size,
                };
                self.window.drain(..gone);
                self.scored = self.window.len();
                self.start += gone as u64;
            }
        }
        Ok(())
    }

    /// What has been found so far.
    pub fn so_far(&self) -> &Perplexity {
        &self.sum
    }

    /// Scores what is left, and tells.
    ///
    /// # Errors
    /// As [`push`](Self::push), and [`PerplexityError::Short`] if nothing could be scored.
    pub fn finish(mut self) -> Result<Perplexity, PerplexityError> {
        let whole = matches!(self.windows.scored, Scored::Stride(_));
        if whole && self.window.len() > self.scored {
            self.run()?;
        }
        if self.sum.tokens == 0 {
            let least = match self.windows.scored {
                Scored::SecondHalf => self.windows.context,
                Scored::Stride(_) if self.windows.begin.is_empty() => 2,
                Scored::Stride(_) => 1,
            };
            return Err(PerplexityError::Short {
                found: self.start + self.window.len() as u64,
                least,
            });
        }
        Ok(self.sum)
    }

    /// Scores what is new in the window.
    fn run(&mut self) -> Result<(), PerplexityError> {
        let begin = &self.windows.begin;
        let (tokens, first, start) = match self.windows.scored {
            Scored::Stride(_) => {
                let tokens = [begin, &self.window[..]].concat();
                let start = self.start as i64 - begin.len() as i64;
                (tokens, begin.len() + self.scored, start)
            }
            Scored::SecondHalf => {
                let mut tokens = self.window.clone();
                tokens[..begin.len()].copy_from_slice(begin);
                (tokens, self.windows.context / 2 + 1, self.start as i64)
            }
        };
        // Nothing foretells the very first token.
        let first = first.max(1);
        self.session.clear();
        if first > 1 {
            self.session.prefill(&[&tokens[..first - 1]])?;
        }
        for place in (first..tokens.len()).step_by(CHUNK) {
            let targets = &tokens[place..tokens.len().min(place + CHUNK)];
            let seen = &tokens[place - 1..place - 1 + targets.len()];
            let logits = self.session.prefill_all(seen)?;
            for (i, nats) in costs(logits, targets)?.into_iter().enumerate() {
                let nats = f64::from(nats);
                if !nats.is_finite() {
                    let index = (start + (place + i) as i64).max(0) as u64;
                    return Err(PerplexityError::NotFinite { index });
                }
                self.sum.tokens += 1;
                self.sum.nats += nats;
                self.sum.squares += nats * nats;
            }
        }
        Ok(())
    }
}

/// What each target costs by the logits ahead of it, in nats.
fn costs(logits: Tensor<2>, targets: &[u32]) -> Result<Vec<f32>, ModelError> {
    let device = logits.device();
    let ids: Vec<i32> = targets.iter().map(|&id| id as i32).collect();
    let shape = [ids.len(), 1];
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, shape), &device);
    let chosen = log_softmax(logits, 1).gather(1, ids).neg();
    let failed = |reason: String| ModelError::Device { reason };
    let data = chosen
        .try_into_data()
        .map_err(|error| failed(format!("{error:?}")))?;
    data.try_into_vec()
        .map_err(|error| failed(format!("{error:?}")))
}
