//! Several units per output: the lanes of a group split the words of a weight row between them, so
//! that a row is read once, side by side, and fold their partial sums in shared memory.

mod base;
mod kernel;
mod launch;

pub use base::GemvBlueprint;
pub(crate) use launch::launch;
