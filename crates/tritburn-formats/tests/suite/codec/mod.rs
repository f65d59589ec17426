//! Codecs, each against the packer of the project whose layout it reads.

mod bitmedvit;
mod bitnet_gpu;
mod bitnet_triton;
mod burn_q2s;
mod hf_bitnet;
mod i2_s;
mod int4matmul;
mod tq;
mod warp_bitnet;
