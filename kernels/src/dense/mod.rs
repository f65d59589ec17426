//! Dense products of half-precision matrices on Hopper's tensor cores, with f32 sums:
//! `out[r, c] = Σ_d left[r, d] · right[c, d]`, where either operand may be stored transposed. These are
//! the three products of a float layer that trains, and of the output layer:
//!
//! | product | left | right |
//! |---|---|---|
//! | `Y = X · Wᵀ` | X, depth in columns | W, depth in columns |
//! | `dX = dY · W` | dY, depth in columns | W, depth in rows |
//! | `dW = dYᵀ · X` | dY, depth in rows | X, depth in rows |
//!
//! Depth is the contracted dimension. No transposed copy is made: `wgmma` reads shared-memory tiles of
//! either order.
//!
//! The first of them also exists for int8 rows with a scale each ([`launch_int8`]): sums are exact in i32.
//!
//! # Supported
//! - bf16 or f16 operands of one type whose rows start at multiples of 16 bytes; f32, bf16 or f16
//!   output, which may be added to.
//! - any sizes, on GPUs of compute capability 9.0. [`runs`] tells whether operands and device qualify.

mod base;
mod kernel;
mod launch;

pub use launch::{DenseOperand, Depth, launch, launch_int8, runs, runs_int8};
