//! The attention on every device: a unit has a row of scores, or of their transpose, and goes through it one
//! position after another.

mod forward;
mod gradient_key;
mod gradient_query;
mod launch;
mod rows;

pub(super) use launch::{backward, forward};
