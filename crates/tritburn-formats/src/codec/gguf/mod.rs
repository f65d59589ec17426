//! Tensor types of GGUF files that hold ternary weights, and the floats of those that do not.

mod quarters;
mod tq;

pub mod blocks;
pub mod i2_s;
pub mod k_quant;
pub mod q2_0;
pub mod tq1_0;
pub mod tq2_0;
