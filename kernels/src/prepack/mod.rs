//! Converts weights from the canonical layout to fragment order, which tensor-core kernels read.
//!
//! # Supported
//! Every code table; scales per tensor, row and segment (expanded to one per row); any shape, on
//! every device.
//!
//! # Rejected
//! Scales per group, and rows so long that sums could overflow: [`PrepackedWeights::fragments`] is `None`,
//! and the portable kernels multiply.

mod base;
mod kernel;
mod launch;

pub use base::{
    FragmentLayout, FragmentOrder, PrepackedWeights, TILE_COLS, TILE_ROWS, TILE_WORDS, WeightOrder,
};
pub use launch::launch;
