//! Products with affine weights: codes of 2, 3 or 4 bits with a scale and a zero point per group.

mod backend;
#[cfg(feature = "cube")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
mod frozen;
mod operand;

pub(crate) use frozen::AffineParts;
pub use frozen::FrozenAffineWeight;
