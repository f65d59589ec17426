//! `dW = dYᵀ · X̂` on Hopper's tensor cores, in half precision: int8 activations are put into
//! fragment order once, then scaled and rounded in registers as the left operand; `dY` is the right
//! one as it lies.

mod base;
mod fragments;
mod kernel;
mod launch;

pub(super) use launch::{fits, launch};
