//! Layers: [`BitLinear`] trains, [`PackedLinear`] runs, [`PackedWeight`] is the packed state that
//! both share.

mod activations;
mod bit_linear;
mod config;
mod packed_linear;
mod packed_weight;
mod prepack_cache;
mod projection;

pub use activations::Activations;
pub use bit_linear::BitLinear;
pub use config::BitLinearConfig;
pub use packed_linear::PackedLinear;
pub use packed_weight::PackedWeight;
pub(crate) use packed_weight::{AttachPacked, PackedParts};
