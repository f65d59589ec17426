//! 1.58-bit language models on tritburn: published checkpoints in, text out; and trained ones.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | what a checkpoint says about its model |
//! | [`families`] | what differs from one published family to the next |
//! | [`checkpoint`] | weights of any format, read on demand |
//! | [`convert`](mod@convert) | from one format to another, verified |
//! | [`model`] | the decoder on a device, packed |
//! | [`trainable`] | the decoder with gradients: train, save |
//! | [`generate`](mod@generate) | sequences, their cache, captured decode steps |
//! | [`sample`] | from logits to the next token |
//! | [`text`] | tokenizers and chat templates |
//! | [`engine`] | many requests at once: continuous batching |
//! | [`vision`] | ternary vision transformers: train, pack, classify |
//!
//! # Feature flags
//!
//! Backends, named as Burn names them: `flex` (default), `cpu`, `cuda`, `wgpu`, `vulkan`, `metal`,
//! `rocm`. They choose where a model can run and change nothing in this documentation. `cpu`, `cuda`
//! and `rocm` need LLVM at build time.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod checkpoint;
pub mod config;
pub mod convert;
pub mod engine;
pub mod families;
pub mod generate;
pub mod model;
mod replace;
pub mod sample;
pub mod text;
pub mod trainable;
pub mod vision;

pub use config::DecoderConfig;
pub use model::CausalLm;
pub use trainable::TrainableModel;
pub use vision::VisionTransformer;

/// The README's example, compiled and run as a documentation test.
#[cfg(all(doctest, feature = "flex"))]
#[doc = include_str!("../README.md")]
struct Readme;
