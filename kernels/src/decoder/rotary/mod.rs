//! Rotary position embedding of queries and keys, which also appends keys and values to the cache in the
//! same launch.
//!
//! Dimensions `d` and `d + D/2` of a head are rotated together (Su et al.,
//! <https://arxiv.org/abs/2104.09864>, in the half-split order of the LLaMA checkpoints):
//! `x'[d] = x[d]·cos[d] − x[d + D/2]·sin[d]`, `x'[d + D/2] = x[d + D/2]·cos[d] + x[d]·sin[d]`.

mod kernel;
mod launch;
mod rotate;

pub use launch::{Placement, launch, table};
pub use rotate::{Rotation, rotate};
