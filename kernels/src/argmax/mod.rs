//! Greedy choice of the next token, and the bookkeeping of a decoding step.

mod kernel;
mod launch;
mod step;

pub use launch::{ArgmaxScratch, launch};
pub use step::{advance, copy_u32};
