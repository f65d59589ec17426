//! The endpoints.

pub mod chat;
pub mod completions;
pub mod embeddings;
pub mod models;
pub mod page;
pub mod state;
pub mod tokenize;
