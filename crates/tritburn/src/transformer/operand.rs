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

/// The operands of a layer of a stack: words and row scales of weights in fragment order, F32 gains, the rotary
/// table, keys and values.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "cube"))]
#[allow(missing_docs, reason = "named as in StackWeights")]
pub struct StackLayer<B: Backend> {
    pub qkv: IntTensor<B>,
    pub qkv_scales: FloatTensor<B>,
    pub output: IntTensor<B>,
    pub output_scales: FloatTensor<B>,
    pub gate_up: IntTensor<B>,
    pub gate_up_scales: FloatTensor<B>,
    pub down: IntTensor<B>,
    pub down_scales: FloatTensor<B>,
    pub input_norm: FloatTensor<B>,
    pub attention_sub_norm: FloatTensor<B>,
    pub post_attention_norm: FloatTensor<B>,
    pub ffn_sub_norm: FloatTensor<B>,
    pub rotary: FloatTensor<B>,
    pub keys: FloatTensor<B>,
    pub values: FloatTensor<B>,
}
