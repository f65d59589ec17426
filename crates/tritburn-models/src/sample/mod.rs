//! From logits to the next token: [`Sampler`].
//!
//! A step applies, in the order of transformers: penalties, temperature, top-k, top-p,
//! min-p; then it draws. Equal logits rank by token id, lower first, so every filter keeps a set
//! that depends on the logits alone.

mod config;
mod error;
mod filters;
mod sampler;

pub use config::Sampling;
pub use error::SampleError;
pub use sampler::Sampler;
