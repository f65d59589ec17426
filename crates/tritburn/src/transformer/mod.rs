//! What a decoder of 1.58-bit layers does between its products, fused for inference: norms that
//! quantise, rotary embedding into a key-value cache, attention over it, the head.
//!
//! One launch each on CubeCL devices, one pass over memory on Flex. No gradients: train with
//! Burn's own modules around [`BitLinear`](crate::BitLinear).
//!
//! Tokens of a batch are concatenated, whatever sequence they belong to: `[tokens, features]`
//! with a cache row and a position for each, see [`Tokens`]. All shapes are checked here; positions
//! and rows live on the device, so a captured graph can be replayed with other values.
//!
//! Made for `tritburn-models`: not part of the public interface, and changed without notice.

mod api;
mod backend;
mod cache;
#[cfg(feature = "cube")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
mod heads;
mod k_quant;
// Only kernels need scratch, but what keeps it is tested everywhere.
#[cfg(any(test, feature = "cube"))]
mod kept;
mod layout;
mod operand;
mod rotary;
#[cfg(feature = "cube")]
mod scratch;
mod stack;
mod tokens;

pub use crate::training::{GatedActivation, Norm};
pub use api::{
    advance, argmax, attention, dense_head, draw, embedding, gated, gated_norm_quantize, int8_head,
    norm_heads, overwrite, rms_norm, rms_norm_quantize, rotary_append,
};
#[cfg(any(feature = "flex", feature = "cube"))]
pub(crate) use backend::TransformerOps;
pub use cache::LayerCache;
pub use heads::Heads;
pub use k_quant::{KQuantTable, keeps_k_quants};
pub use layout::CacheLayout;
pub use rotary::{rotary_frequencies, rotary_table, scaled_rotary_table};
pub use stack::{Stack, StackShape, StackWeights};
pub use tokens::{Span, Tokens};
