//! The layers: [`BitLinear`] trains with a latent weight and runs on the codes of a
//! [`PackedWeight`]; [`AffineLinear`] runs on 2 to 4 bits in groups.

mod affine_linear;
mod bit_linear;
mod config;
mod packed_weight;
mod prepack_cache;
mod projection;
mod reduced_kobold;

pub use affine_linear::AffineLinear;
pub use bit_linear::BitLinear;
pub use config::BitLinearConfig;
pub use packed_weight::PackedWeight;
pub(crate) use packed_weight::{AttachPacked, PackedParts};
pub use reduced_kobold::ImportError;
