//! 1.58-bit (ternary) and other very-low-bit layers for [Burn](https://burn.dev): train with the
//! straight-through estimator, pack to 2 bits a weight, run faster than dense matmul.
//!
//! # Feature flags
//!
//! Backends, named as Burn names them. Enable the same ones on `burn`.
//!
//! - `flex` (default): Burn's pure-Rust CPU backend, with native integer kernels.
//! - `wgpu`, `vulkan`, `metal`: GPUs through CubeCL.
//! - `cuda`: NVIDIA GPUs, with tensor-core kernels. Needs LLVM at build time (`cargo xtask setup`) and
//!   the CUDA toolkit (NVRTC) at run time: `cuda::check` says what is missing.
//! - `cpu`: CubeCL's CPU runtime. Needs LLVM at build time.
//! - `rocm`: AMD GPUs. Needs LLVM with LLD at build time.
//!
//! docs.rs builds with `flex` and `wgpu`: of what features add, only the module `cuda` is missing there.

// Without a backend nobody calls what backends are made of.
#![cfg_attr(
    not(any(feature = "flex", feature = "cube")),
    allow(dead_code, unused_imports, unused_variables)
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "cuda")]
pub mod cuda;
pub mod device;
mod error;
mod linears;
pub mod nn;
pub mod ops;
pub mod optim;
mod pack;
mod precision;
mod q2s;
mod quantize_linears;
pub mod stats;
pub mod store;
mod ternarize;
pub mod training;
#[doc(hidden)]
pub mod transformer;

pub use error::{Error, PackError};
pub use nn::{AffineLinear, BitLinear, BitLinearConfig, ImportError};
pub use pack::Pack;
pub use precision::InputPrecision;
pub use q2s::Q2sError;
pub use quantize_linears::{AffineWeight, quantize_linears};
pub use ternarize::{TernaryWeight, ternarize_linears, ternarize_linears_with};
pub use tritburn_formats as formats;
pub use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};

/// The README's example, compiled and run as a documentation test.
#[cfg(all(doctest, feature = "flex"))]
#[doc = include_str!("../README.md")]
struct Readme;
