//! Operands that are more than one tensor.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, ExtensionType};

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
