//! The two products of the training op's backward pass, in f32 sums with float outputs.
//!
//! - [`input`]: `dX = dY · Ŵ`, `[M, K]`, from packed weights of any code and granularity.
//! - [`weight`]: `dW = dYᵀ · X̂`, `[N, K]`, from int8 activations; no weight scale enters.
//!
//! Gradients pass the quantisers straight through. M = 0 gives an empty dX and a zero dW.

mod input;
mod weight;

pub use input::launch as input;
pub use weight::launch as weight;
