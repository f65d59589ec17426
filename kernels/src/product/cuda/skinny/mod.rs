//! A few tokens on tensor cores (compute capability 8.0 and up): every warp keeps 16 weight rows,
//! decodes their codes in registers and multiplies them with 8 tokens at a time, so that weights
//! are read once for up to 16 tokens. Warps of a cube split the columns between them.

mod base;
mod kernel;
mod launch;
mod product;
mod quantize;
mod stage;

pub use base::{STRIP_ROWS, SkinnyBlueprint};
pub(crate) use launch::launch;
