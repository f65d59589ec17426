//! Device code that kernels of several folders share: `#[cube]` functions and their compile-time
//! types.

pub(crate) mod affine;
pub(crate) mod decode;
pub(crate) mod dot;
pub(crate) mod epilogue;
pub(crate) mod extents;
pub(crate) mod fragments;
mod mma_type;
pub(crate) mod ptx;
pub(crate) mod team;

pub use mma_type::MmaType;
