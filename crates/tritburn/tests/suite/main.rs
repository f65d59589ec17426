//! The crate's integration tests as one program: the CubeCL features link LLVM, once is enough.

mod common;
#[cfg(feature = "cube")]
mod fusion;
mod gradients;
mod layers;
mod operands;
mod prepack;
mod q2s;
mod store;
