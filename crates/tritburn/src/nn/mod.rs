//! The layer: [`BitLinear`] trains with a latent weight and runs on the codes of a
//! [`PackedWeight`].

mod bit_linear;
mod config;
mod packed_weight;
mod prepack_cache;
mod projection;

pub use bit_linear::BitLinear;
pub use config::BitLinearConfig;
pub use packed_weight::PackedWeight;
pub(crate) use packed_weight::{AttachPacked, PackedParts};
