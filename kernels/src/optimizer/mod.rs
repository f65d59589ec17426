//! A step of the optimiser on the device: AdamW, and the clipping of gradients by their norm. Nothing
//! here waits for the host.

mod adamw;
mod base;
mod clip;

pub use adamw::{adamw, adamw_many};
pub use base::{AdamW, AdamWOperands};
pub use clip::{clip_factor, square_sum};
