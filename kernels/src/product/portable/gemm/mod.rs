//! The portable GEMM: each unit computes a register tile of outputs over all of K, so that units never
//! synchronise; a cube computes a box of tiles.

mod base;
mod kernel;
mod launch;

pub use base::GemmBlueprint;
pub(crate) use launch::launch;
