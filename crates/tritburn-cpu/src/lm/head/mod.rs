//! Output heads: the logits of a vocabulary, from unpacked weights.
//!
//! | file | weights | activations |
//! |---|---|---|
//! | `dense` | f32, f16, bf16 | f32 |
//! | `int8` | int8, a scale per row | int8, a scale per token |

mod dense;
mod int8;

pub use dense::DenseJob;
pub use dense::{dense_head, dense_head_with};
pub use int8::QuantizeJob;
pub use int8::{Int8View, int8_head, int8_head_with, quantize_rows_int8};
