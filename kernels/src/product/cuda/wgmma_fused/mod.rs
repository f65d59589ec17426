//! The warpgroup product that quantises its own activations: one launch where [`wgmma`](super::wgmma) needs the
//! quantiser's before it.
//!
//! A cluster is `splits × shares` cubes. `splits` cubes share the columns of an output tile, `shares`
//! cubes have the same tokens and columns and other weight rows. A cube brings weights and its part of
//! the activations on their way, finds the largest magnitude of each of its tokens, tells those that
//! hold the rest of the row, and writes the tokens as int8 into the shared memory of every cube that
//! multiplies them. From there on it is the product of resident activations with a ring of weights.

mod base;
mod cluster;
mod kernel;
mod launch;
mod quantize;
mod sums;

pub use base::FusedBlueprint;
pub(crate) use base::QUANTISER;
pub(crate) use launch::launch;
