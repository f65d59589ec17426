//! Operands that are more than one tensor.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, ExtensionType};

/// What is added to the input of a norm, `[tokens, features]`.
#[derive(ExtensionType)]
#[extension_type(fusion: cfg(feature = "cube"))]
pub enum Residual<B: Backend> {
    /// Nothing.
    Absent,
    /// A tensor of the shape and dtype of the input.
    Present(FloatTensor<B>),
}

impl<B: Backend> Residual<B> {
    /// The residual as an option.
    pub fn into_option(self) -> Option<FloatTensor<B>> {
        match self {
            Self::Absent => None,
            Self::Present(residual) => Some(residual),
        }
    }
}

impl<B: Backend> From<Option<FloatTensor<B>>> for Residual<B> {
    fn from(residual: Option<FloatTensor<B>>) -> Self {
        residual.map_or(Self::Absent, Self::Present)
    }
}

/// A matrix `[rows, columns]` of int8 rows with one f32 scale each, `W[n, k] ≈ codes[n, k] ·
/// scales[n]`: what [`quantize_activations`](crate::ops::quantize_activations) makes of a matrix.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "cube"))]
pub struct Int8Rows<B: Backend> {
    /// U32 `[rows · 4 · ceil(columns / 16)]`, four codes a word.
    pub codes: IntTensor<B>,
    /// F32 `[rows]`.
    pub scales: FloatTensor<B>,
}
