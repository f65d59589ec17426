//! Codecs, each against the packer of the project whose layout it reads.

mod awq;
mod bitmedvit;
mod bitnet_gpu;
mod bitnet_triton;
mod blocks;
mod burn_q2s;
mod gptq;
mod hf_bitnet;
mod i2_s;
mod int4matmul;
mod q2_0;
mod tq;
mod warp_bitnet;
