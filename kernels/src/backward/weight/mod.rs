//! `dW = dYᵀ · X̂`. One unit computes 16 inputs of a few weight rows and loops over the tokens, so that
//! neighbouring units read neighbouring activation words.

mod base;
mod kernel;
mod launch;
mod wgmma;

pub use launch::launch;
