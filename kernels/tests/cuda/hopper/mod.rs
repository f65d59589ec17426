//! What runs on Hopper GPUs alone. These tests are ignored, so that a GPU that cannot run them does not pass
//! them; `cargo xtask test --gpu` runs all whose path holds `hopper` where there is one.

mod fused;
mod one_token;
