//! The crate's integration tests as one program: the CubeCL features link LLVM, once is enough.

mod affine;
mod common;
mod frozen;
#[cfg(feature = "cube")]
mod fusion;
mod gradients;
mod graph;
mod layers;
mod operands;
mod prepack;
mod q2s;
mod quantize_linears;
mod reduced_kobold;
mod stats;
mod store;
mod training;
mod transformer;
