//! Quantises float activations and multiplies in one launch; the kernel in [`wgmma`](super::wgmma)
//! needs a separate quantiser launch.
//!
//! A cluster is `splits × shares` cubes. `splits` cubes divide the columns of an output tile;
//! `shares` cubes work on the same tokens and columns with different weight rows. Each cube starts
//! the copies of its weights, loads its part of the activations, and finds the largest magnitude of
//! each of its tokens in its columns. It sends the maxima to the cubes that have the tokens' other
//! columns, rounds its tokens, and writes the int8 codes to the shared memory of every cube that
//! multiplies them. The main loop then multiplies resident activations with a ring of weights.

mod base;
mod cluster;
mod kernel;
mod launch;
mod quantize;
mod sums;

pub use base::FusedBlueprint;
pub(crate) use base::QUANTISER;
pub(crate) use launch::launch;
