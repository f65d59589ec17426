//! Products of many tokens. [`portable`] runs on every device, [`cuda`] on NVIDIA's tensor cores.

pub mod cuda;
pub mod portable;
