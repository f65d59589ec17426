//! Gradients of the norm, and of the gated unit with a norm. They are computed from the input; the
//! forward pass saves nothing.
//!
//! For `y = gamma · h · r` with `r = 1 / sqrt(mean(h²) + eps)` and `d = gamma · dy`:
//! `dh = r · (d − h · r² · mean(d · h))` and `dgamma = Σ_t dy · h · r`. `h` is the row itself or
//! `gate(g) · u`, whose gradients are `dg = dh · u · gate'(g)` and `du = dh · gate(g)`. Arithmetic is
//! f32. Sums over tokens are added in a fixed order, so that a device gives the same bits every time.

mod launch;
mod lines;
mod strided;

pub use launch::backward;
pub(crate) use launch::{RowGradients, launch_gradients};
