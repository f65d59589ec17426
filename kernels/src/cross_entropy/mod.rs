//! Cross entropy of rows of logits, and its gradient in the same launch.
//!
//! With `lse = ln Σ_v exp(x[v])`, `p = softmax(x)` and the weight `w` of a token's label:
//! `loss = w · (lse − x[target] + z · lse²)` and `dx = w · ((1 + 2·z·lse) · p − onehot(target))`; `z`
//! keeps the logits' scale in check (Chowdhery et al. 2022, <https://arxiv.org/abs/2204.02311>).
//! Statistics are f32. Losses and gradients are not divided by the number of tokens; [`mean`] computes
//! the divisor.

mod base;
mod fold;
mod launch;
mod lines;
mod mean;
mod strided;

pub use base::CrossEntropy;
pub use launch::launch;
pub use mean::mean;
