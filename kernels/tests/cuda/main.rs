//! The tensor-core kernels against tritburn-formats, on an NVIDIA GPU.
#![cfg(feature = "cuda")]

#[path = "../portable/harness.rs"]
#[allow(dead_code, reason = "shared with the portable tests")]
mod harness;

#[path = "../portable/attention_reference.rs"]
#[allow(dead_code, reason = "shared with the portable tests")]
mod attention_reference;

mod attention;
mod backward;
mod decoder_layers;
mod dense;
mod gemm;
mod hopper;
mod plans;
mod prepack;
mod stack;
mod support;
