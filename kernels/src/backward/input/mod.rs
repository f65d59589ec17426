//! `dX = dY · Ŵ`. One unit computes 16 inputs (one column of packed words) of a few tokens and loops
//! over the weight rows, so that neighbouring units read neighbouring words.

mod base;
mod kernel;
mod launch;
mod tensor_cores;

pub use launch::launch;
