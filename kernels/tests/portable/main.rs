//! The portable kernels against the codec crate, on whatever device this build was given:
//! `--features cpu` (CubeCL's CPU runtime), `cuda`, `wgpu`, `vulkan`, `metal` or `rocm`.
#![cfg(any(
    feature = "cpu",
    feature = "cuda",
    feature = "wgpu",
    feature = "vulkan",
    feature = "metal",
    feature = "rocm"
))]

mod backward;
mod device;
mod harness;
mod matmul_float;
mod matmul_int;
mod quantize_activations;
mod quantize_weights;
mod refusals;
mod unpack;
