//! Products with dense weights for few tokens: the head of a language model.
//!
//! `y = x · Wᵀ` for `x` `[T, K]` and `W` `[V, K]`, products and sums in f32. W is f32, f16, bf16, or
//! int8 with a scale per row (`w ≈ q · scale`). Activations are not quantised: reading W takes most of
//! the time, so int8 products would save little and cost accuracy of the logits.

mod base;
mod cuda;
mod kernel;
mod launch;

pub use base::DenseWeights;
pub use launch::launch;
