//! Tensor operations on packed weights, and the trait that backends implement for them.
//!
//! [`api`] holds the checked functions on [`Tensor`](burn::tensor::Tensor) that layers call;
//! [`backend`] the extension trait behind them, implemented for Flex ([`flex`]), for every CubeCL
//! device ([`cube`]), lazily for Fusion (generated) and with hand-written gradients for
//! [`autodiff`].

mod api;
#[cfg(any(feature = "flex", feature = "cube"))]
mod autodiff;
mod backend;
mod bias;
#[cfg(feature = "cube")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "cube")]
mod meta;

pub(crate) use api::check_device;
pub use api::{bit_linear, packed_linear, quantize_activations, quantize_weight, unpack_weight};
pub use backend::TernaryOps;
pub use bias::Bias;
