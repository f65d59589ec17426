//! The product of int8 rows: a table with a scale per row, tokens with a scale each. Sums are exact in i32,
//! so that all kernels give the same bits.

mod base;
mod kernel;
mod launch;

pub use launch::launch;
