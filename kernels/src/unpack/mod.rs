//! Converts packed weights to a float matrix: `w = value · (unit · γ)`, rounded once to the output type.

mod kernel;
mod launch;

pub use launch::launch;
