//! Device code of a stack.

mod attend;
pub(super) mod grid;
mod kernel;
mod product;
mod row;

pub(super) use kernel::{StackExtentsLaunch, stack};
