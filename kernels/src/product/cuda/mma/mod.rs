//! Warp products (compute capability 8.0 and up): `Yᵀ = W · Xᵀ` by `mma.sync`, weights decoded in
//! registers as the left operand, activations read from swizzled shared memory by `ldmatrix` as
//! the right one. A ring of asynchronous copies runs ahead of the products.

mod base;
mod kernel;
mod launch;

pub use base::MmaBlueprint;
pub(crate) use launch::launch;
