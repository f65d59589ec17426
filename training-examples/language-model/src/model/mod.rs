//! A decoder-only byte-level transformer in the BitNet b1.58 style.
//!
//! RoPE, squared-ReLU gated feed-forward, no bias anywhere, an RMSNorm in front of every quantised
//! projection (SubLN: before the attention output and the down projection too, as in
//! BitNet b1.58 2B4T, arXiv 2504.12285), and a float byte embedding that doubles as the output
//! layer.

mod attention;
mod block;
mod config;
mod feed_forward;
mod language_model;
mod projection;

pub use attention::{Attention, KvCache};
pub use block::Block;
pub use config::{ConfigError, ModelConfig};
pub use feed_forward::FeedForward;
pub use language_model::{DecodeState, LanguageModel};
pub use projection::Projection;

/// Number of distinct tokens: the model reads and writes bytes.
pub const VOCABULARY: usize = 256;
