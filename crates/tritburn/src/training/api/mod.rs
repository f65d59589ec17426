//! Checked tensor functions: shapes, dtypes and devices are verified here, once.

mod attention;
mod check;
mod dense;
mod embedding;
mod gelu;
mod linear;
mod loss;
mod rows;

pub use attention::{attention, rotary_attention};
pub use dense::linear;
pub use embedding::embedding;
pub use gelu::gelu;
pub(crate) use linear::{LinearPrologue, LinearWeight, prologue_linear};
pub use linear::{gated_bit_linear, norm_bit_linear};
pub use loss::{LossConfig, linear_cross_entropy, token_losses};
pub use rows::{Norm, gated, rms_norm};
