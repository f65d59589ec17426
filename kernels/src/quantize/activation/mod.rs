//! Per-token absmax int8: `a = 127 / max(max|x|, 1e-5)`, `q = clamp(round(x·a), -128, 127)`, scale
//! `1 / a`. A row that holds NaN or infinity becomes zeros with a NaN scale.

mod base;
pub(crate) mod kernel;
mod launch;
mod lines;
mod rounding;

pub use base::{ActivationBlueprint, ActivationProblem};
pub use launch::{launch, launch_with};
pub(crate) use rounding::{rounding_of, scale_of};
