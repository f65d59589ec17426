//! The portable GEMV: the lanes of a group divide the words of a weight row, so that the row is read once,
//! in coalesced loads, and reduce their partial sums in shared memory.

mod base;
pub(super) mod kernel;
mod launch;

pub use base::GemvBlueprint;
pub(crate) use launch::launch;
