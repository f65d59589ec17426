//! Products on NVIDIA's tensor cores, from prepacked weights.

mod input;
pub mod mma;
mod operand;
pub mod skinny;
mod stage;
pub mod wgmma;
pub mod wgmma_fused;
pub mod wmma;

pub use operand::Operand;
