//! The crate's integration tests as one program: the CubeCL features link LLVM, once is enough.

mod checkpoint;
mod common;
mod config;
mod convert;
#[cfg(feature = "flex")]
mod engine;
mod families;
mod fuzz_corpus;
mod generate;
mod golden;
mod k_quant;
#[cfg(feature = "flex")]
mod perplexity;
mod readers;
mod sample;
#[cfg(feature = "flex")]
mod session;
mod text;
mod trainable;
mod vision;
