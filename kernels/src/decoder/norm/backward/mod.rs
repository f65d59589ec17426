//! Gradients of the norm and of the gated unit with a norm, all from the input: nothing is saved.
//!
//! For `y = gamma · h · r` with `r = 1 / sqrt(mean(h²) + eps)` and `d = gamma · dy`:
//! `dh = r · (d − h · r² · mean(d · h))` and `dgamma = Σ_t dy · h · r`. `h` is the row itself or
//! `gate(g) · u`, whose gradients are `dg = dh · u · gate'(g)` and `du = dh · gate(g)`. Arithmetic is
//! f32; sums over tokens are added in one order, so that a device gives the same bits every time.

mod launch;
mod lines;
mod strided;

pub use launch::backward;
pub(crate) use launch::{RowGradients, launch_gradients};
