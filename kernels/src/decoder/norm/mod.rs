//! RMSNorm with the sum of a residual before it and the int8 quantiser after it, in one launch.
//!
//! `h = x + residual` is rounded to the type of `x`; all that follows is f32:
//! `y = gamma · (h / sqrt(mean(h²) + eps))` (Zhang and Sennrich, <https://arxiv.org/abs/1910.07467>),
//! and codes and scales of `y` as [`quantize::activation`](crate::quantize::activation) makes them.

mod activation;
mod backward;
mod base;
mod heads;
mod launch;
mod lines;
mod strided;

pub(crate) use activation::{gate, gate_and_slope};
pub use backward::backward;
pub(crate) use backward::{RowGradients, launch_gradients};
pub(crate) use base::{LinePlan, Source};
pub use base::{Residual, RowOutput};
pub use heads::{HeadNorm, heads};
pub use launch::launch;
pub(crate) use launch::{Rows, launch_rows};
