//! `dW = dYᵀ · X̂` on Hopper's tensor cores, in half precision. One launch transposes the int8
//! activations into fragment order. The product decodes, scales and rounds them in registers as its
//! left operand; `dY` is the right operand, without a transpose in memory.

mod base;
mod fragments;
mod kernel;
mod launch;

pub(super) use launch::{fits, launch};
