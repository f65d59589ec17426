//! Weights of int4matmul_kernels (commit `f45ba9f`): unsigned codes of 4, 3 or 2 bits with an f16
//! scale and zero point per group of inputs, `W[n, k] = (code - zero) · scale`; and 4-bit codes
//! with 16:32 sparsity. Storage only: no kernel here multiplies by them.
//!
//! Stored words run along `out` first, `[.., out]`. Its kernels want `in` and `out` in multiples
//! of 64, its packers `in` in multiples of 32. A negative scale switches its kernel to another
//! code table ("exponent mode"), which is stored and read like any other but not dequantised.

mod dense;
mod matrix;
mod sparse;

pub use dense::{decode, encode};
pub use matrix::{Bits, IntMatrix};
pub use sparse::{SparseInt4, SparseWords, decode_sparse, encode_sparse};

const FORMAT: &str = "int4matmul";

/// Inputs that share words: with `b` bits each they fill `b` words, first code in the low bits.
const UNIT: usize = 32;
