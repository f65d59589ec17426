//! The backend extension trait.

// With no backend compiled in, the generated dispatch has nothing to pass the arguments to.
#![cfg_attr(
    not(any(feature = "flex", feature = "cube")),
    allow(unused_imports, unused_variables)
)]

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};
use tritburn_formats::AffineLayout;

use super::operand::AffineOperand;
use crate::ops::Bias;

/// Products with affine weights. They have no gradient.
///
/// Callers check shapes, dtypes and devices first: use
/// [`FrozenAffineWeight`](super::FrozenAffineWeight).
#[backend_extension(
    Flex: cfg(feature = "flex"),
    Cube: cfg(feature = "cube"),
    Fusion: cfg(feature = "cube"),
)]
pub trait AffineOps: Backend {
    /// `x · Wᵀ + bias` of float activations `[M, K]` in the order of the inputs: `[M, N]` in the dtype
    /// of `x`, accumulated in f32.
    #[fusion(dtype = x, shape = [x[0], layout.out_features()].into())]
    fn matmul_affine(
        x: FloatTensor<Self>,
        #[extension_type] weight: AffineOperand<Self>,
        #[extension_type] bias: Bias<Self>,
        layout: AffineLayout,
    ) -> FloatTensor<Self>;
}
