//! Weights of 2, 3 or 4 bits with a scale, and if wanted a zero point, per group of inputs.
//!
//! An affine weight is `w = (code - zero) · scale`, with an unsigned code of `b` bits. Scales and
//! zero points are real numbers in f32, f16 or bf16, one per group of consecutive inputs of a row
//! ([`AffineLayout::group_size`], any multiple of 16; the last group of a row may be shorter) or
//! one per row. Without stored zero points the zero is `2^(b-1)`, the middle of the codes.
//! In f32 a weight is computed as it is written: a subtraction, then a product, each rounded once.
//!
//! # Canonical layout
//!
//! The codes of a row are one bit string: code `k` is bits `b·k .. b·(k+1)`, bit 0 the lowest of
//! the first word. A row ends with a whole *unit* of 32 inputs, which is exactly `b` u32 words, so
//! words are `[out, b · ceil(in / 32)]`. Of 3 bits, codes 10 and 21 of a unit lie across two words
//! (two bits and one; one bit and two). Fields behind the last input hold 0 and mean nothing.
//! 2-bit words are those of a [`PackedMatrix`](crate::PackedMatrix) but for padding.
//!
//! | part | shape | |
//! |---|---|---|
//! | words | u32 `[out, b · ceil(in / 32)]` | sparse: `[out, 2 · in / 32]` |
//! | mask | u32 `[out, in / 32]` | sparse only |
//! | scales | float `[out, ceil(in / group)]` | finite, not 0 |
//! | zeros | float `[out, ceil(in / group)]` | where the layout has them; finite |
//! | order | u32 `[in]` | where the layout is permuted |
//!
//! **16:32 sparsity** ([`Sparsity::Half32`], 4 bits only) keeps 16 of every 32 inputs of a row. Bit
//! `l` of mask word `[row, g]` is set where input `32g + l` is kept; the two words of the unit hold
//! the kept codes in the order of their inputs. A dropped weight is 0, whatever the zero point.
//!
//! **Order.** Quantisers that go through inputs by importance ("act order") group inputs that are
//! not neighbours. Such a matrix stores its columns so that groups are consecutive, and `order[c]`
//! is the input that column `c` multiplies.
//!
//! # Examples
//!
//! ```
//! use tritburn_formats::affine::{AffineLayout, Bits};
//! use tritburn_formats::quantize::affine::{round_to_nearest, weight_report};
//!
//! // [2, 64] in 4 bits, a scale and a zero point for every 32 inputs.
//! let layout = AffineLayout::new([2, 64], Bits::Four, Some(32))?.with_zeros();
//! let weights: Vec<f32> = (0..128).map(|i| ((i * 37 % 101) as f32 - 30.0) / 50.0).collect();
//! let matrix = round_to_nearest(&weights, &layout)?;
//! assert_eq!(matrix.words().len(), 2 * 4 * 64 / 32);
//! assert!(weight_report(&weights, &matrix)?.relative_error < 0.08);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bits;
mod float;
mod header;
mod layout;
mod matrix;
mod pack;
mod rows;

pub use bits::{Bits, UNIT};
pub use float::{FloatType, Floats};
pub use header::{AffineHeader, WeightHeader};
pub use layout::{AffineLayout, Sparsity};
pub use matrix::{AffineMatrix, AffineParts};
pub use pack::pack_affine_codes;
pub use rows::{concat_rows, reorder_rows, scale_rows};

pub(crate) use bits::{read_unit, write_unit};
pub(crate) use pack::for_each_kept;
