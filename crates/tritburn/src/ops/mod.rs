//! Tensor operations on packed weights.
//!
//! The functions here check their operands; layers call them. Behind them stands an extension trait
//! that Flex, every CubeCL device, Fusion (lazily) and Autodiff (with hand-written gradients)
//! implement.
//!
//! With feature `cuda`, functions also return `Error::Cuda` where a CUDA device cannot compile
//! kernels: see `tritburn::cuda::check`.

mod affine;
mod api;
#[cfg(any(feature = "flex", feature = "cube"))]
mod autodiff;
mod backend;
mod bias;
#[cfg(feature = "cube")]
pub(crate) mod cube;
mod device;
#[cfg(feature = "flex")]
pub(crate) mod flex;
#[cfg(feature = "cube")]
mod fragments;
mod frozen;
mod operand;
mod prepack;

pub(crate) use affine::AffineParts;
pub use affine::FrozenAffineWeight;
pub use api::{bit_linear, packed_linear, quantize_activations, quantize_weight, unpack_weight};
pub(crate) use api::{check_bias, check_packed, check_weight_shape};
pub(crate) use api::{
    check_device, check_float, check_shape, check_word_dtype, check_written, prepacked_linear,
};
#[cfg(any(feature = "flex", feature = "cube"))]
pub(crate) use autodiff::{inner_bias, inner_weight};
pub(crate) use backend::TernaryOps;
#[cfg(feature = "cube")]
pub(crate) use backend::quantized;
pub(crate) use bias::Bias;
#[cfg(feature = "cube")]
pub(crate) use device::cube as cube_device;
pub use device::{captures_graphs, keeps_dtype};
pub(crate) use device::{check_ready, is_cuda, is_flex, prefers_prepacked, runs_kernels};
pub use frozen::FrozenWeight;
pub(crate) use operand::WeightOperand;
pub(crate) use prepack::{PrepackedWeight, prepack};

/// What this crate's own tests reach for: not part of the public interface, and changed without
/// notice.
#[doc(hidden)]
pub mod internals {
    pub use super::api::prepacked_linear;
    pub use super::device::{prefers_prepacked, rounds_to_bf16};
    pub use super::prepack::{PrepackedWeight, prepack};
}
