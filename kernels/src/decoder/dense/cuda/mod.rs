//! Products of several tokens with a half-precision or int8 table on tensor cores, from compute capability
//! 8.0 on: the table is read once for 32 or 64 tokens, at the speed of memory.

mod base;
mod kernel;
mod launch;

pub(in crate::decoder::dense) use base::TablePlan;
pub(in crate::decoder::dense) use launch::{launch_half, launch_int8};
