//! 1.58-bit language models behind OpenAI's HTTP API.
//!
//! [`router`] answers requests, [`serve`] brings it to a port; the engine that many requests share is
//! [`tritburn_models::engine`]. The command `tritburn serve` is made of these.
//!
//! | address | what |
//! |---|---|
//! | `POST /v1/chat/completions`, `POST /v1/completions` | continue a conversation or prompts, streamed or whole |
//! | `POST /v1/embeddings` | vectors, of a model that is served for them |
//! | `GET /v1/models` | the model that is served |
//! | `POST /tokenize`, `POST /detokenize` | text to ids and back |
//! | `GET /health`, `GET /ready` | whether the process lives; whether it answers requests |
//! | `GET /metrics` | numbers for Prometheus, under vLLM's names |
//! | `GET /props` | the model's limits |
//! | `GET /docs`, `GET /openapi.json` | all of this as OpenAPI |
//! | `GET /` | a page to chat with the model |
//!
//! # Examples
//!
#![cfg_attr(feature = "flex", doc = "```")]
#![cfg_attr(not(feature = "flex"), doc = "```no_run")]
//! use std::sync::Arc;
//! use burn::tensor::Device;
//! use tritburn_models::checkpoint::Synthetic;
//! use tritburn_models::engine::{Engine, EngineOptions, EnginePool};
//! use tritburn_models::model::LoadOptions;
//! use tritburn_models::{CausalLm, DecoderConfig};
//! use tritburn_server::{AppState, Backend, ModelText, ServerOptions, router};
//!
//! // Random weights; `checkpoint::open("bitnet-b1.58-2B-4T")?` opens a real model.
//! let checkpoint = Synthetic::new(DecoderConfig::tiny(), 1)?;
//! let text = ModelText::of(&checkpoint)?;
//! let model = CausalLm::load(&checkpoint, &LoadOptions::default(), &Device::flex())?;
//! let tokenizer = Some(text.tokenizer.clone());
//! let engine = Engine::start(Arc::new(model), tokenizer, EngineOptions::default())?;
//!
//! let backend = Backend::Text(Arc::new(EnginePool::new(vec![engine])?));
//! let state = AppState::new("tiny", text, backend, ServerOptions::default());
//! let router = router(state); // an axum router: serve it, or nest it into another
//! # let _ = router;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Fields of requests
//!
//! A field does what OpenAI says, or the request is refused with the field's name in `error.param`. Those
//! that change no answer are accepted. Null stands for an absent field.
//!
#![doc = include_str!("../FIELDS.md")]
//!
//! # What differs from OpenAI's service
//!
//! - A request needs the header `content-type: application/json`.
//! - A stream that fails ends with an event of the error's form, and without `[DONE]`.
//! - What messages spell is text: special tokens in it are not read as such. In the `prompt` of
//!   `/v1/completions`, which the caller writes whole, they are.
//! - The answer to a required call follows the function's schema; one that the model is free to make is
//!   found in its text in the forms of Hermes (Qwen) and Llama 3.
//! - A system's or user's message that the chat template leaves out is refused, and so are tools that it
//!   does not mention.
//!
//! # Feature flags
//!
//! `tls` (default) serves HTTPS. The others are backends, named as Burn names them: `flex` (default), `cpu`,
//! `cuda`, `wgpu`, `vulkan`, `metal`, `rocm`.

mod answer;
mod auth;
mod calls;
mod choices;
mod embed;
mod error;
mod extract;
mod listen;
mod logprobs;
mod metrics;
pub mod openai;
mod options;
mod prepare;
mod router;
mod routes;
mod served;
mod state;

pub use auth::ApiKeys;
pub use embed::Embedder;
pub use error::{ApiError, ErrorBody, ErrorDetail};
pub use listen::{Ended, ServeError, bind, serve, signals};
pub use options::{ServerOptions, TlsFiles};
pub use router::router;
pub use served::ModelText;
pub use state::{AppState, Backend};
