//! Weights to 2-bit codes: one scale from the absolute mean of each segment, then the codes.
//!
//! Ternary: `γ = max(mean|W|, 1e-5)`, `code = clamp(round(w/γ), -1, 1) + 1`. Int2:
//! `s = max(mean|W|, 1e-5) · 1.2479`, `code = clamp(round(w/s + 1.5), 0, 3)`. The mean is summed in
//! the order of [`tritburn_formats::sum`]. A mean that is NaN or infinite gives a NaN scale and
//! padding codes.

mod base;
mod kernel;
mod launch;

pub use base::{SumBlueprint, SumProblem};
pub use launch::{launch, launch_with};
