//! The portable kernels against tritburn-formats, on whatever device this build was given:
//! `--features cpu` (CubeCL's CPU runtime), `cuda`, `wgpu`, `vulkan`, `metal` or `rocm`.
#![cfg(any(
    feature = "cpu",
    feature = "cuda",
    feature = "wgpu",
    feature = "vulkan",
    feature = "metal",
    feature = "rocm"
))]

mod affine;
mod attention;
mod attention_reference;
mod backward;
mod device;
mod harness;
mod head;
mod matmul_float;
mod matmul_int;
mod norm;
mod paging;
mod quantize_activations;
mod quantize_weights;
mod reference;
mod refusals;
mod training;
mod training_attention;
mod unpack;
