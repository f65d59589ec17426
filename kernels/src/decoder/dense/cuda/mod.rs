//! Products of several tokens with a half-precision table on tensor cores, from compute capability
//! 8.0 on: the table is read once for up to 32 tokens, at the speed of memory.

mod base;
mod kernel;
mod launch;

pub(in crate::decoder::dense) use base::TablePlan;
pub(in crate::decoder::dense) use launch::launch;
