//! CubeCL kernels for ternary and other 2-bit weights. No Burn: operands are device handles with
//! checked shapes ([`operand`]), errors are typed ([`KernelError`]), and every kernel runs on every
//! runtime, from CubeCL's CPU runtime to CUDA.
//!
//! | module | what |
//! |---|---|
//! | [`operand`] | packed weights, int8 activations, float matrices and vectors |
//! | [`quantize`] | weights to codes and scales, activations to int8 |
//! | [`unpack`] | packed weights to a float matrix |
//! | [`prepack`] | packed weights to the order that tensor-core kernels read |
//! | [`matmul`] | `y = x · Ŵᵀ + bias`, int8 or float activations; picks from [`gemm`] and [`gemv`] |
//! | [`backward`] | `dX = dY · Ŵ` and `dW = dYᵀ · X̂` |
//! | [`norm`], [`glu`] | residual sum, RMSNorm or gated unit, and int8 quantiser in one launch |
//! | [`rotary`], [`attention`] | rotary embedding into a key-value cache, attention over it |
//! | [`embedding`], [`dense`], [`argmax`] | the two ends of a language model |
//!
//! Launches are asynchronous: they return once the work is queued. Outputs are allocated by the
//! caller and written whole. Shapes are run-time values, so that one compiled kernel serves all.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod argmax;
pub mod attention;
pub mod backward;
mod cache;
mod decode;
pub mod dense;
pub mod device;
mod dot;
pub mod embedding;
mod epilogue;
pub mod error;
mod extents;
pub mod gemm;
pub mod gemv;
pub mod glu;
pub mod matmul;
pub mod norm;
pub mod operand;
pub mod prepack;
mod ptx;
pub mod quantize;
pub mod rotary;
mod team;
mod tensor_map;
pub mod unpack;

pub use cache::KvCache;
pub use decode::ScaleKind;
pub use device::DeviceFacts;
pub use dot::{IntegerDot, Tile};
pub use error::KernelError;
pub use operand::{
    Buffer, FloatMatrix, FloatType, FloatVector, PackedWeights, QuantizedActivations,
};
pub use prepack::{FragmentLayout, FragmentOrder, PrepackedWeights};
pub use ptx::MmaType;
