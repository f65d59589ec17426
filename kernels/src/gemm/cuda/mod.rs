//! Products of many tokens on tensor cores, from prepacked weights.

mod input;
pub mod mma;
mod stage;
#[cfg(test)]
pub(crate) mod test_gpus;
pub mod wgmma;
pub mod wmma;
