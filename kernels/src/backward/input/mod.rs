//! `dX = dY · Ŵ`: a unit owns one packed word column (16 inputs) of a few tokens and walks the
//! weight rows, so that neighbouring units read neighbouring words.

mod base;
mod kernel;
mod launch;
mod tensor_cores;

pub use launch::launch;
