//! The attention on tensor cores, `mma` with bf16 or f16 operands and f32 sums.
//!
//! Three kernels of one shape: a warp keeps `blocks · 16` rows for itself (queries; for the gradients of keys
//! and values, those), tiles of other rows come through a ring of two stages in shared memory, and scores
//! live and die in registers. The sums of one product become the left operand of the next without leaving
//! them, since the kernel for keys and values computes the scores transposed. Each output has one cube, so
//! nothing is added by two of them.
//!
//! With S rows of scores seen, a product of scores takes 2·S·dim operations a head: two of them forward, four
//! for keys and values, three for queries. The 16×12×1024×64 of a small language model are 26, 52 and 39 GFLOP;
//! at the 350 TFLOP/s that `mma` sustains on an H200 beside its exponentials, 75, 150 and 110 µs.

mod base;
#[cfg(test)]
mod compile_tests;
mod forward;
mod gradient_key;
mod gradient_query;
mod launch;
mod products;
mod tile;

pub use base::{FlashPlan, FlashPlans};
pub use launch::{backward, forward};
