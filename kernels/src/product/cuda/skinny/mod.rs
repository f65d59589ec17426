//! Products of up to 16 tokens (compute capability 8.0 and up). A warp loads a strip of 16 weight
//! rows, decodes it in registers and multiplies it with 8 tokens at a time, so that weights are
//! read once. The warps of a cube divide the columns of a strip and add their sums in shared
//! memory.

mod base;
mod kernel;
mod launch;
mod product;
mod quantize;
mod stage;

pub use base::{STRIP_ROWS, SkinnyBlueprint};
pub(crate) use launch::launch;
pub(crate) use product::{load_staged, multiply_step};
