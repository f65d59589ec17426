//! Hopper's warpgroup products (compute capability 9.0): `Yᵀ = W · Xᵀ`. Weights are the left
//! operand, decoded in registers; activations are the right one, in swizzled shared memory. Cubes
//! are persistent: each computes several output tiles, and a ring of asynchronous copies runs ahead
//! of the products, across tiles.
//!
//! With few tokens, `kernel` runs: every unit copies, and cubes of a cluster divide the columns of
//! a tile. With many tokens, `multicast` runs: cubes of a cluster share activations, and one unit
//! of each copies. [`wgmma_fused`](super::wgmma_fused) quantises float activations itself.

mod base;
mod kernel;
mod launch;
mod multicast;
pub(crate) mod output;
mod parts;
pub(crate) mod product;
pub(crate) mod ring;
pub(crate) mod tile;

pub use base::WgmmaBlueprint;
pub(crate) use launch::launch;
pub(crate) use parts::{Parts, every_part_has_some};
pub(crate) use product::{
    SharedOperand, accumulator, declare_accumulators, descriptor, finish_products, slice_offset,
    start, start_shared,
};
pub(crate) use tile::{WarpgroupTile, first_row, output_tile};
