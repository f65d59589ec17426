//! BitNet b1.58 language models on tritburn: published checkpoints in, text out.
//!
//! # Feature flags
//!
//! Backends, named as Burn names them: `flex` (default), `cpu`, `cuda`, `wgpu`, `vulkan`, `metal`,
//! `rocm`.

#![warn(missing_docs)]
