//! Tensor operations on packed weights, and the trait that backends implement for them.
//!
//! The functions here check their operands; layers call them. Behind them stands [`TernaryOps`], the
//! extension trait that Flex, every CubeCL device, Fusion (lazily) and Autodiff (with hand-written
//! gradients) implement.

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
