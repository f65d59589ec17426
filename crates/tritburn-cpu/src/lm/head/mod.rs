//! Output heads: the logits of a vocabulary, from unpacked weights.
//!
//! | file | weights | activations |
//! |---|---|---|
//! | `dense` | f32, f16, bf16 | f32 |
//! | `int8` | int8, a scale per row | int8, a scale per token |
//! | `k_quant` | Q4_K, Q5_K, Q6_K of ggml | 16 bits, a scale per token |

mod dense;
mod int8;
mod k_quant;

pub use dense::DenseJob;
pub use dense::{dense_head, dense_head_with};
pub use int8::QuantizeJob;
pub use int8::{Int8View, int8_head, int8_head_with, quantize_rows_int8};
pub use k_quant::{KQuantView, k_quant_embedding, k_quant_head, k_quant_head_with};
