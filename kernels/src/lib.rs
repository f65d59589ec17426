//! CubeCL kernels for ternary and other 2-bit weights. No Burn: operands are device handles with
//! checked shapes ([`operand`]), errors are typed ([`KernelError`]), and every kernel runs on every
//! runtime, from CubeCL's CPU runtime to CUDA.
//!
//! | module | what |
//! |---|---|
//! | [`operand`] | packed weights, int8 activations, float matrices and vectors, the key-value cache |
//! | [`quantize`] | weights to codes and scales, activations to int8 |
//! | [`unpack`] | packed weights to a float matrix |
//! | [`prepack`] | packed weights to the order that tensor-core kernels read |
//! | [`product`] | `y = x · Ŵᵀ + bias`, int8 or float activations, from the kernel that suits shape and device; 2-bit weights, and 2 to 4 bits with groups |
//! | [`backward`] | `dX = dY · Ŵ` and `dW = dYᵀ · X̂` |
//! | [`dense`] | products of half-precision matrices on tensor cores |
//! | [`decoder`] | a language model around its products: norms, gated unit, rotary embedding, attention, both ends |
//! | [`cross_entropy`], [`optimizer`] | the loss with its gradient; AdamW and clipping |
//! | [`statistics`] | counts over packed codes |
//!
//! Launches are asynchronous: they return once the work is queued. Outputs are allocated by the
//! caller and written whole. Shapes are run-time values, so that one compiled kernel serves all.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod backward;
pub mod cross_entropy;
pub mod decoder;
pub mod dense;
pub mod device;
mod device_code;
pub mod error;
pub mod operand;
pub mod optimizer;
pub mod prepack;
pub mod product;
pub mod quantize;
mod rows;
pub mod statistics;
pub mod unpack;

pub use device::DeviceFacts;
pub use device_code::MmaType;
pub use device_code::decode::ScaleKind;
pub use device_code::dot::{IntegerDot, UnitTile};
pub use error::KernelError;
pub use operand::{
    AffineBuffers, AffineWeights, BlockTable, Buffer, FloatMatrix, FloatType, FloatVector, KvCache,
    PackedWeights, QuantizedActivations,
};
pub use prepack::{FragmentLayout, FragmentOrder, PrepackedWeights, WeightOrder};
