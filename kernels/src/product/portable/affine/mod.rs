//! The portable product with affine weights: codes of 2, 3 or 4 bits with groups, zero points and
//! 16:32 sparsity, decoded in registers.

mod kernel;
mod launch;

pub(crate) use launch::{gathered, launch};
