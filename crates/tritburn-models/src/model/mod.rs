//! The decoder, for inference.

mod cache;
mod causal_lm;
mod embedding;
mod error;
mod head;
mod layer;
mod linear;
mod load;
mod norm;
mod options;
mod projections;
mod rotary;
mod stack;

pub use cache::KvCache;
pub use causal_lm::{CausalLm, Hidden};
pub use error::ModelError;
pub use options::{HeadPrecision, LoadOptions, Precision};
pub(crate) use stack::LayerStack;
