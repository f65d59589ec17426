//! The attention on tensor cores, `mma` with bf16 or f16 operands and f32 sums.
//!
//! Three kernels of one shape: a warp keeps `blocks · 16` rows for itself (queries; for the gradients of keys
//! and values, those), tiles of other rows come through a ring of two stages in shared memory, and scores
//! live and die in registers. The sums of one product become the left operand of the next without leaving
//! them, since the kernel for keys and values computes the scores transposed. Each output has one cube, so
//! nothing is added by two of them.
//!
//! A product of a head's scores takes 2·dim operations for each of its length²/2 scores below the diagonal; two of
//! them are made forward, four for keys and values, three for queries. At 16×12×1024×64 that is 26, 52 and 39
//! GFLOP: an estimated 75, 150 and 110 µs if `mma` sustains 350 TFLOP/s beside the exponentials.
//!
//! `ptxas` gives a unit 239 registers forward and 255 in both gradients at 64 dimensions, and spills at most 16
//! bytes: two cubes of four warps fit a multiprocessor.

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
