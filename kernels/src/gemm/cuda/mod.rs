//! Products of many tokens on tensor cores, from prepacked weights.

pub mod wgmma;
