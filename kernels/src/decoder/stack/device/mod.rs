//! Device code of a stack.

#![allow(
    clippy::manual_is_multiple_of,
    clippy::identity_op,
    reason = "CubeCL has no `is_multiple_of`; a sum with 0 is a value of its own, see `ptx::temporary`"
)]

mod attend;
mod handoff;
mod kernel;
mod product;
mod row;
mod values;

pub(super) use attend::BLOCKS;
pub(super) use kernel::{StackExtentsLaunch, stack};
