//! From the canonical layout to the order that tensor-core kernels read.
//!
//! # Supported
//! Every code table; scales per tensor, row and segment (expanded to one per row); any shape, on
//! every device.
//!
//! # Rejected
//! Scales per group and sums that could overflow, by [`PrepackedWeights::fragments`]: those
//! products stay on the portable kernels.

mod base;
mod kernel;
mod launch;

pub use base::{
    FragmentLayout, FragmentOrder, PrepackedWeights, TILE_COLS, TILE_ROWS, TILE_WORDS, WeightOrder,
};
pub use launch::launch;
