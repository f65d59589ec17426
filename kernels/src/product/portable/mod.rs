//! Products on every device, from the canonical layout: [`gemm`] for many tokens, [`gemv`] for a
//! few; affine weights have a kernel on the skeleton of [`gemv`].

pub(super) mod affine;
mod args;
pub mod gemm;
pub mod gemv;
