//! Products with tables of many rows: the head of a language model, `y = x · Wᵀ` for `x` `[T, K]` and `W`
//! `[V, K]`.
//!
//! | W | x | products and sums | kernels |
//! |---|---|---|---|
//! | f32, f16, bf16 | any float type | f32 | [`launch`]: portable, `mma` up to 64 tokens, then [`dense`](crate::dense) |
//! | int8, a scale per row | int8, a scale per token | i32, exact | [`launch_int8`]: portable, `mma`, then `wgmma` |
//!
//! Sums of floats depend in their last bits on the kernel, and so on the number of tokens. Those of int8 do
//! not.

mod base;
mod cuda;
mod int8;
mod kernel;
mod launch;

pub use int8::launch as launch_int8;
pub use launch::launch;

/// Most tokens that are multiplied by kernels which read the table once for a few tokens. More than these
/// are worth the tiles of `wgmma`, 256 tokens wide, on GPUs of compute capability 9.0.
const FEW_TOKENS: usize = 64;
