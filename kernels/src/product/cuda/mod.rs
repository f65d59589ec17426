//! Products on NVIDIA's tensor cores, from prepacked weights.

mod args;
mod input;
pub mod mma;
mod mma_input;
pub mod skinny;
mod stage;
pub mod wgmma;
pub mod wgmma_fused;
pub mod wmma;

pub use mma_input::MmaInput;
