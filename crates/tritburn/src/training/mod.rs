//! Fused operations with gradients, for training: what stands around the products of
//! [`bit_linear`](crate::ops::bit_linear) in a decoder.
//!
//! | function | what | kept for the backward pass |
//! |---|---|---|
//! | [`rms_norm`] | root-mean-square norm | its input |
//! | [`norm_bit_linear`] | norm, int8 quantiser, W2A8 product | its input, int8 codes, packed weights |
//! | [`gated`] | squared-ReLU or SiLU gate, sub-norm | its input |
//! | [`gated_bit_linear`] | gate, sub-norm, int8 quantiser, W2A8 product | as above |
//! | [`rotary_attention`] | rotary embedding and causal attention of whole sequences | q, k, v, the output, a number a query |
//! | [`attention`] | the same without positions, causal or not; composed of Burn's where there is no kernel | the same, or what Burn's keeps |
//! | [`gelu`] | an activation without a gate; Burn's on CubeCL devices | its input |
//! | [`embedding`] | rows of a table | the ids |
//! | [`linear_cross_entropy`] | output layer and loss, in chunks of tokens | the gradients |
//!
//! Activations may be f32, bf16 or f16 while weights and gains are f32, whose gradients are then
//! f32: what Burn calls mixed precision is a choice of dtypes here. Arithmetic inside of an
//! operation is f32.
//!
//! The functions check their operands and return typed errors. Behind them stands an extension trait
//! that Flex, every CubeCL device, Fusion (lazily) and Autodiff (with hand-written gradients)
//! implement.

mod api;
#[cfg(any(feature = "flex", feature = "cube"))]
mod autodiff;
mod backend;
#[cfg(feature = "cube")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
mod operand;

pub(crate) use api::{LinearPrologue, LinearWeight, prologue_linear};
pub use api::{
    LossConfig, Norm, attention, embedding, gated, gated_bit_linear, gelu, linear,
    linear_cross_entropy, norm_bit_linear, rms_norm, rotary_attention, token_losses,
};
pub(crate) use backend::TrainingOps;
pub use operand::GatedActivation;
pub(crate) use operand::Optional;
pub(crate) use operand::{AdamWStep, Moments};

pub use crate::transformer::{Heads, rotary_frequencies, rotary_table, scaled_rotary_table};
