//! A server on a port of this machine, and clients that are real, careless or hostile.

#![cfg(feature = "flex")]

mod access;
mod browser;
mod chat;
mod common;
mod completions;
mod devices;
mod embeddings;
mod fields;
mod hostile;
mod metrics;
mod openai_client;
mod parser;
mod shutdown;
mod soak;
mod tls;
mod tokens;
mod tools;
