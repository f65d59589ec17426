//! Tables of ggml's K types, kept in their blocks: embeddings and heads on the CPU.

mod backend;
#[cfg(feature = "flex")]
mod flex;
mod table;

pub use table::{KQuantTable, keeps_k_quants};
