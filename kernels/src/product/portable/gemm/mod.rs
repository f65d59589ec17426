//! A register tile of outputs per unit, a box of tiles per cube; the whole of K per unit, so that
//! units never wait for each other.

mod base;
mod kernel;
mod launch;

pub use base::GemmBlueprint;
pub(crate) use launch::launch;
