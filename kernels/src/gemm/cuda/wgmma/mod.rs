//! Hopper's warpgroup products (compute capability 9.0): `Yᵀ = W · Xᵀ`, weights decoded in
//! registers as the left operand, activations in swizzled shared memory as the right one. Cubes
//! stay for several output tiles; a ring of asynchronous copies runs ahead of the products and
//! across tiles.

mod base;
pub mod fused;
mod kernel;
mod launch;
mod multicast;
mod output;
pub(crate) mod ring;

pub use base::WgmmaBlueprint;
pub(crate) use kernel::{RightOperand, Tile, accumulator, declare_accumulators, place, start};
pub(crate) use launch::launch;
