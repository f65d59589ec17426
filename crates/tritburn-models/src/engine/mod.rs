//! Many requests at once on one model: continuous batching.
//!
//! An [`Engine`] takes [`Request`]s from any number of threads and answers each by a stream of
//! [`Event`]s, its [`Generation`]. One thread owns the device. Its steps run whatever there is to do
//! together: a token of each answer that is being written, and parts of prompts beside them. Requests join
//! and leave between steps, first come, first served.
//!
//! The tokens of an answer depend on its request alone, not on who shares a step with it, wherever products
//! are exact: in every model of [`Precision::W2A8`](crate::model::Precision::W2A8). Float products of other
//! precisions may be summed in another order for another number of tokens, and so may those of a bf16 head for more
//! than 64 answers.
//!
//! Where nothing but a temperature decides (no filter, penalty, bias or grammar), the device draws the
//! next token, and no logits leave it unless log probabilities are asked for: [`tritburn::transformer::draw`] by the
//! request's seed and the token's position.
//! Others are chosen on the host by a [`Sampler`](crate::sample::Sampler), which has other random numbers.
//!
//! # Examples
//!
//! ```
//! use std::sync::Arc;
//! use burn::tensor::Device;
//! use tritburn_models::checkpoint::Synthetic;
//! use tritburn_models::engine::{Engine, EngineOptions, FinishReason, Request};
//! use tritburn_models::model::LoadOptions;
//! use tritburn_models::{CausalLm, DecoderConfig};
//!
//! let checkpoint = Synthetic::new(DecoderConfig::tiny(), 1)?;
//! let model = CausalLm::load(&checkpoint, &LoadOptions::default(), &Device::flex())?;
//! let options = EngineOptions { max_sequences: 4, ..Default::default() };
//! let engine = Engine::start(Arc::new(model), None, options)?;
//!
//! // Two requests share the engine's steps.
//! let request = |prompt: &[u32]| Request {
//!     max_new_tokens: Some(8),
//!     ..Request::new(prompt)
//! };
//! let first = engine.submit(request(&[1, 2, 3]))?;
//! let second = engine.submit(request(&[4]))?;
//! for generation in [first, second] {
//!     let choices = generation.collect_blocking();
//!     assert_eq!(choices[0].ids.len(), 8);
//!     assert_eq!(choices[0].reason, FinishReason::Length);
//! }
//! assert_eq!(engine.stats().generated_tokens, 16);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod blocks;
mod check;
mod error;
mod event;
mod executor;
mod generation;
mod handle;
mod options;
mod output;
mod pool;
mod request;
mod shared;
mod stats;
mod structure;
mod worker;

pub use error::{EngineError, Failure, SubmitError};
pub use event::{Event, FinishReason, Finished, Logprobs, Stop, Token, Usage};
pub use generation::{Completion, Generation};
pub use handle::Engine;
pub use options::EngineOptions;
pub use pool::EnginePool;
pub use request::{Request, Structure};
pub use stats::{EngineStats, Histogram};

/// Fewest tokens of a prompt that a step reads, unless the prompt is shorter. Attention works through fewer
/// ones in another order of sums, and answers must not depend on where a prompt was cut.
pub const MIN_PART: usize = 16;
