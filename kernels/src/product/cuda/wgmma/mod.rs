//! Hopper's warpgroup products (compute capability 9.0): `Yᵀ = W · Xᵀ`, weights decoded in
//! registers as the left operand, activations in swizzled shared memory as the right one. Cubes
//! stay for several output tiles; a ring of asynchronous copies runs ahead of the products and
//! across tiles.
//!
//! Few tokens run `kernel`: every unit copies, cubes of a cluster share the columns of a tile. Many
//! tokens run `multicast`: cubes of a cluster share activations, one unit of each copies. [`wgmma_fused`](super::wgmma_fused)
//! quantises float activations itself.

mod base;
mod kernel;
mod launch;
mod multicast;
pub(crate) mod output;
pub(crate) mod product;
pub(crate) mod ring;
pub(crate) mod tile;

pub use base::WgmmaBlueprint;
pub(crate) use launch::launch;
pub(crate) use product::{
    RightOperand, accumulator, declare_accumulators, descriptor, finish_products, start,
};
pub(crate) use tile::{Tile, first_row, place};
