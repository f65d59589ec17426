//! Products by CubeCL's `cmma` (WMMA, compute capability 7.2 and up) in the three int8 fragment shapes.
//! WMMA loads fragments from shared memory only, so weights are decoded to shared memory, one column tile
//! ahead of the products. A ring of copies runs ahead of both; before compute capability 8.0 the copies are
//! synchronous.

mod base;
mod kernel;
mod launch;

pub use base::{WmmaBlueprint, WmmaFragment};
pub(crate) use launch::launch;
