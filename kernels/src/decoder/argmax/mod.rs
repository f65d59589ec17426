//! Greedy choice of the next token.

mod kernel;
mod launch;

pub use launch::{ArgmaxScratch, launch};
