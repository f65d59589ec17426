//! `y = x · Ŵᵀ + bias` from packed weights: `x` `[M, K]`, `W` `[N, K]`, `y` `[M, N]`.
//!
//! # Supported
//! - [`w2a8`]: int8 activations, exact i32 sums. With scales per tensor, row or segment
//!   `y = f32(acc) · (γ·unit·s_m) + bias`; with scales per group
//!   `y = (Σ_g f32(acc_g) · (γ_g·unit), g ascending) · s_m + bias`; f32, rounded once to y's type.
//! - [`w2a8_i32`]: the i32 sums themselves, for tests.
//! - [`w2a16`]: f32, f16 or bf16 activations, f32 sums.
//! - [`w2a8_quantizing`]: f32, f16 or bf16 activations, quantised per token on the way, in one launch
//!   where that is faster; the bits of [`w2a8`] after the quantiser.
//! - [`affine`]: f32, f16 or bf16 activations times codes of 2, 3 or 4 bits with a scale and a zero
//!   point per group, dense or 16:32 sparse, f32 sums.
//! - any M, N, K; M = 0 launches nothing; every code table and scale granularity.
//!
//! # Rejected
//! With a [`KernelError`](crate::KernelError), before anything is launched: operands whose shapes
//! differ, a bias whose length is not N, element types the device lacks, i32 sums of grouped
//! weights, a forced plan that does not fit.

mod call;
pub mod cuda;
mod functions;
mod launch;
mod plan;
mod plan_cache;
pub mod portable;
mod problem;
mod select;
mod tune;

pub use call::Weights;
pub(crate) use call::{Call, Input};
pub use functions::{affine, w2a8, w2a8_i32, w2a8_quantizing, w2a16};
pub use plan::{Plan, Schedule};
pub use problem::{ActivationType, MatmulProblem};
pub use select::Strategy;
pub use tune::Autotune;
