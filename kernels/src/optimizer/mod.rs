//! A step of the optimiser: AdamW, and the clipping of gradients by their norm. The norm and the clipping
//! factor stay on the device, so that the host never waits for them.

mod adamw;
mod base;
mod clip;

pub use adamw::{adamw, adamw_many};
pub use base::{AdamW, AdamWOperands};
pub use clip::{clip_factor, square_sum};
