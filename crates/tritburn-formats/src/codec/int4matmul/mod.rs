//! Weights of int4matmul_kernels (commit `f45ba9f`): unsigned codes of 4, 3 or 2 bits with an f16
//! scale and zero point per group of inputs, `W[n, k] = (code - zero) · scale`; and 4-bit codes
//! with 16:32 sparsity.
//!
//! Stored words run along `out` first, `[.., out]`. Its kernels want `in` and `out` in multiples
//! of 64, its packers `in` in multiples of 32.
//!
//! A negative scale switches a group to *exponent mode* (`dequantize<EXPONENT_SYM>` in its
//! `matmul.cuh`): with `e` the low `b - 1` bits of a code and its top bit for a minus,
//! `W = ±2^e · |scale| + zero`. Such weights are stored, read and dequantised; they are not affine, so
//! [`IntMatrix::to_affine`] refuses them.
//!
//! # Examples
//!
//! ```
//! use half::f16;
//! use tritburn_formats::codec::int4matmul::{self, Bits, IntMatrix};
//!
//! // [2, 32] codes 0..=15; a row has one scale and one zero point.
//! let codes = (0..64).map(|i| i % 16).collect();
//! let (scales, zeros) = (vec![f16::from_f32(0.5); 2], vec![f16::from_f32(8.0); 2]);
//! let matrix = IntMatrix::new([2, 32], Bits::Four, None, codes, scales, zeros)?;
//! assert_eq!(matrix.dequantize()?[..3], [-4.0, -3.5, -3.0]);
//! assert_eq!(matrix.to_affine()?.dequantize(), matrix.dequantize()?);
//!
//! let words = int4matmul::encode(&matrix);
//! assert_eq!(words.len(), 64 * 4 / 32);
//! let (scales, zeros) = (matrix.scales().to_vec(), matrix.zeros().to_vec());
//! assert_eq!(int4matmul::decode(&words, [2, 32], Bits::Four, None, scales, zeros)?, matrix);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod dense;
mod matrix;
mod sparse;

pub use crate::affine::Bits;
pub use dense::{decode, encode};
pub use matrix::IntMatrix;
pub use sparse::{SparseInt4, SparseWords, decode_sparse, encode_sparse};

const FORMAT: &str = "int4matmul";
