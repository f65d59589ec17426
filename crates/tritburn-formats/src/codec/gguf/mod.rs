//! Tensor types of GGUF files that hold ternary weights.

mod quarters;
mod tq;

pub mod i2_s;
pub mod tq1_0;
pub mod tq2_0;
