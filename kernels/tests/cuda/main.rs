//! The tensor-core kernels against the codec crate, on an NVIDIA GPU.
#![cfg(feature = "cuda")]

#[path = "../portable/harness.rs"]
#[allow(dead_code, reason = "shared with the portable tests")]
mod harness;

mod backward;
mod gemm;
mod hopper;
mod plans;
mod prepack;
mod support;
