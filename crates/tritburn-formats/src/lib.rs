//! Quantisers, the canonical 2-bit layout and the storage formats of ternary and other
//! very-low-bit weights. Pure Rust: no Burn, no GPU.
//!
//! | module | what |
//! |---|---|
//! | [`code`] | which value a stored 2-bit field means |
//! | [`scale`] | how many f32 scales a matrix carries and which weight uses which |
//! | [`layout`] | the shape of a packed matrix: [`PackedLayout`] |
//! | [`header`] | the typed, versioned header that travels with stored weights |
//! | [`sum`] | the summation tree of `mean\|W\|` that every device follows bit for bit |
//! | [`quantize`] | weights to codes and scales, activations to int8 |
//! | [`matrix`] | packed weights with their scales: [`PackedMatrix`] |
//! | [`affine`] | codes of 2, 3, 4 bits with a scale and a zero point per group: [`AffineMatrix`] |
//! | [`codec`] | storage formats of packed weights, to and from a [`PackedMatrix`] |
//! | [`file`](mod@file) | model files: safetensors, GGUF, torch checkpoints |
//!
//! Bytes are viewed as little-endian words in place, so big-endian targets are refused at compile
//! time.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod affine;
pub mod code;
pub mod codec;
pub mod error;
mod fields;
pub mod file;
pub mod header;
pub mod layout;
pub mod matrix;
pub mod quantize;
#[doc(hidden)]
pub mod reference;
pub mod scale;
mod simd;
pub mod sum;

pub use affine::{AffineLayout, AffineMatrix};
pub use code::WeightCode;
pub use codec::CodecError;
pub use error::{HeaderError, LayoutError, MatrixError};
pub use header::PackedHeader;
pub use layout::PackedLayout;
pub use matrix::PackedMatrix;
pub use quantize::activation::QuantizedActivations;
pub use scale::ScaleGranularity;

const _: () = assert!(
    cfg!(target_endian = "little"),
    "tritburn-formats needs a little-endian target"
);

/// The README's example, compiled and run as a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
