//! `dW = dYᵀ · X̂`: a unit owns 16 inputs of a few weight rows and walks the tokens, so that
//! neighbouring units read neighbouring activation words.

mod base;
mod kernel;
mod launch;
mod wgmma;

pub use launch::launch;
