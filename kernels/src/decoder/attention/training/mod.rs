//! Causal attention with grouped query heads and gradients, over a batch of sequences of one length.
//!
//! The `[T, T]` scores are never in memory: the forward pass stores the logarithm of each row's sum of
//! exponentials, from which the backward pass recomputes the scores (Dao,
//! <https://arxiv.org/abs/2307.08691>). No pass uses atomics, so the same operands give the same bits.
//!
//! Half types with heads of 32, 64 or 128 dimensions run on the tensor cores of NVIDIA GPUs from compute
//! capability 8.0 on, everything else on portable kernels in f32 arithmetic.
//!
//! NaN in a token's query gives NaN in its output; in a key or value, in the outputs of that position and
//! all later ones. On tensor cores NaN in a value also reaches earlier positions of the same tile.

mod base;
pub mod cuda;
mod launch;
mod portable;

pub use base::AttentionShape;
pub use launch::{backward, forward};
