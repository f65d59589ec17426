//! Native CPU kernels for weights packed to 2, 3 or 4 bits: `y[M, N] = x[M, K] · W[N, K]ᵀ` with the
//! weights decoded in registers.
//!
//! | function | activations | accumulator |
//! |---|---|---|
//! | [`quantize_activations`] | f32 to int8, one scale per token | |
//! | [`matmul_w2a8`] | int8 | i32, exact on every instruction set |
//! | [`matmul_w2a8_i32`] | int8 | i32, returned as it is |
//! | [`matmul_w2a16`] | f32 | f32 |
//! | [`matmul_affine`] | f32, times codes of 2, 3 or 4 bits with groups | f32 |
//! | [`dequantize`] | | |
//!
//! Around these products, what the rest of a transformer's forward pass needs:
//!
//! | function | what |
//! |---|---|
//! | [`embedding`], [`k_quant_embedding`] | rows of an f32, f16 or bf16 table, or of one in ggml's K types |
//! | [`rms_norm`], [`rms_norm_quantize`] | residual sum, norm, quantiser in one pass |
//! | [`gated`], [`gated_quantize`] | squared-ReLU or SiLU gate, norm, quantiser |
//! | [`rotary_append`] | rotary embedding, filling the cache |
//! | [`attention`] | causal, grouped queries, over a cache |
//! | [`dense_head`], [`int8_head`], [`k_quant_head`] | logits |
//! | [`argmax`] | the most likely token |
//!
//! And what training needs beyond that, in f32:
//!
//! | function | what |
//! |---|---|
//! | [`rms_norm_backward`], [`gated_backward`], [`embedding_backward`] | gradients |
//! | [`rotate`], [`sequence_attention`], [`sequence_attention_backward`] | attention of whole sequences |
//! | [`gelu`], [`gelu_backward`] | an activation without a gate |
//! | [`cross_entropy`], [`cross_entropy_gradient`] | the loss of rows of logits |
//! | [`adamw`], [`square_sum`] | a step of the optimiser, the norm of gradients |
//!
//! Weights are in the canonical layout of [`tritburn_formats`]. Work is divided over the rayon pool that the
//! caller runs in. [`Isa`] names the instruction set. The same input gives the same bits on every run,
//! whatever the number of threads.
//!
//! ```
//! use tritburn_cpu::{QuantizedView, WeightView, matmul_w2a8};
//! use tritburn_formats::quantize::pack_weights;
//! use tritburn_formats::{PackedLayout, QuantizedActivations, ScaleGranularity, WeightCode};
//!
//! // Two rows of three weights, each of size γ = 0.5.
//! let layout = PackedLayout::new(2, 3, WeightCode::Ternary, ScaleGranularity::Tensor)?;
//! let matrix = pack_weights(&[0.5, -0.5, 0.5, -0.5, -0.5, -0.5], &layout)?;
//! let x = QuantizedActivations::quantize(&[1.0, 1.0, -1.0], 3)?;
//! let mut y = [0.0; 2];
//! matmul_w2a8(QuantizedView::of(&x), WeightView::of(&matrix), None, &mut y)?;
//! assert!((y[0] + 0.5).abs() < 1e-6 && (y[1] + 0.5).abs() < 1e-6);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

mod activation;
mod affine;
mod dequantize;
mod error;
mod isa;
mod lm;
mod parallel;
mod planes;
mod training;
mod view;
mod w2a16;
mod w2a8;

pub use activation::quantize_activations;
pub use affine::{AffineOperands, AffineView, FloatsView, matmul_affine};
pub use dequantize::dequantize;
pub use error::CpuError;
pub use isa::{ISA_VARIABLE, Isa, UnknownIsa};
pub use lm::{
    BlockTable, Element, Gate, GatedActivation, Heads, Int8View, KQuantView, KvView, KvViewMut,
    RmsNorm, TokenView, argmax, attention, dense_head, draw, embedding, gated, gated_quantize,
    int8_head, k_quant_embedding, k_quant_head, rms_norm, rms_norm_quantize, rotary_append,
};
pub use training::{
    AdamWStep, CrossEntropy, Sequences, adamw, cross_entropy, cross_entropy_gradient,
    embedding_backward, gated_backward, gelu, gelu_backward, rms_norm_backward, rotate,
    sequence_attention, sequence_attention_backward, square_sum,
};
pub use view::{QuantizedView, WeightView};
pub use w2a8::{matmul_w2a8, matmul_w2a8_i32};
pub use w2a16::matmul_w2a16;

/// Twins that take their instruction set, and operands of the decoder's operations: for tests and
/// benchmarks, not part of the public interface, and changed without notice.
#[doc(hidden)]
pub mod internals {
    pub use crate::affine::matmul_affine_with;
    pub use crate::lm::{
        attention_with, dense_head_with, embedding_with, gated_quantize_with, gated_with,
        int8_head_with, k_quant_head_with, quantize_rows_int8, rms_norm_quantize_with,
        rms_norm_with, rotary_append_with, rotary_table,
    };
    pub use crate::w2a8::{matmul_w2a8_i32_with, matmul_w2a8_with};
    pub use crate::w2a16::matmul_w2a16_with;
}

/// The README's example, compiled and run as a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
