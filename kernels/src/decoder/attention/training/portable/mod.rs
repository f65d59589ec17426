//! Attention with gradients on every device: one unit per row of scores, or column for the gradients of keys
//! and values, which it processes one position after another.

mod forward;
mod gradient_key;
mod gradient_query;
mod launch;
mod rows;

pub(super) use launch::{backward, forward};
