//! Products by CubeCL's `cmma` (WMMA; compute capability 8.0 and up) in the three int8 fragment
//! shapes. Fragments are loaded from shared memory, so the weights are decoded there: one column
//! tile ahead of the products. A ring of asynchronous copies runs ahead of both.

mod base;
mod kernel;
mod launch;

pub use base::{WmmaBlueprint, WmmaFragment};
pub(crate) use launch::launch;
