//! Device code of a stack.

mod attend;
mod handoff;
mod kernel;
mod product;
mod row;

pub(super) use attend::BLOCKS;
pub(super) use kernel::{StackExtentsLaunch, stack};
