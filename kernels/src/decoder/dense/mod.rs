//! Products with dense weights for few tokens: the head of a language model.
//!
//! `y = x · Wᵀ` for `x` `[T, K]` and `W` `[V, K]`, products and sums in f32. W is f32, f16, bf16, or
//! int8 with a scale a row (`w ≈ q · scale`): activations stay as they are, because a logit is worth
//! more than the time that int8 products would save next to reading W.

mod base;
mod cuda;
mod kernel;
mod launch;

pub use base::DenseWeights;
pub use launch::launch;
