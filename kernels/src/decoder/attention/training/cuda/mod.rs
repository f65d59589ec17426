//! Attention with gradients on tensor cores: `mma` with bf16 or f16 operands and f32 sums.
//!
//! The three kernels share one structure. A warp owns `blocks · 16` rows: queries, or in the kernel for the
//! gradients of keys and values, keys and values. Tiles of the other side pass through a ring of two stages in
//! shared memory. Scores stay in registers: the accumulators of one product become the left operand of the
//! next, for which the kernel for keys and values computes the scores transposed. Each output tile is computed
//! by one cube, so that no two cubes add to the same element.
//!
//! One product over the scores of a head takes 2·dim operations for each of its length²/2 unmasked scores. The
//! forward pass has two such products, the gradients of keys and values four, those of the queries three. At
//! 16×12×1024×64 that is 26, 52 and 39 GFLOP: an estimated 75, 150 and 110 µs if `mma` sustains 350 TFLOP/s
//! beside the exponentials.
//!
//! At 64 dimensions `ptxas` allocates 239 registers a unit in the forward pass and 255 in both gradients, with
//! spills of at most 16 bytes: two cubes of four warps fit a multiprocessor.

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
