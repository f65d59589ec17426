//! Device operands with their shapes checked once: every launch takes these.
//!
//! Packed words, scales and int8 activations are rank 1 and contiguous, because rank-2 tensors are
//! pitched on some devices. Float matrices may be pitched.

mod affine;
mod buffer;
mod float;
mod float_type;
mod kv_cache;
mod packed;
mod quantized;
mod tensor_map;

pub use affine::{AffineBuffers, AffineWeights};
pub use buffer::Buffer;
pub(crate) use buffer::LINE_BYTES;
pub use float::{FloatMatrix, FloatVector};
pub use float_type::FloatType;
pub use kv_cache::{BlockTable, KvCache};
pub use packed::PackedWeights;
pub use quantized::QuantizedActivations;
