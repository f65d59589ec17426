//! What a transformer's forward pass needs around its 2-bit products.

#![allow(
    clippy::needless_range_loop,
    reason = "tiles are indexed by row and token"
)]

mod argmax;
pub(crate) mod attention;
mod draw;
mod element;
mod embedding;
mod gate;
mod head;
pub(crate) mod norm;
mod operands;
mod rotary;
pub(crate) mod vector;

pub use argmax::argmax;
pub use attention::{attention, attention_with};
pub use draw::draw;
pub use element::Element;
pub use embedding::{embedding, embedding_with};
pub use gate::{Gate, GatedActivation, gated, gated_quantize, gated_quantize_with, gated_with};
pub use head::{
    Int8View, KQuantView, dense_head, dense_head_with, int8_head, int8_head_with,
    k_quant_embedding, k_quant_head, k_quant_head_with, quantize_rows_int8,
};
pub use norm::{rms_norm, rms_norm_quantize, rms_norm_quantize_with, rms_norm_with};
pub use operands::{BlockTable, Heads, KvView, KvViewMut, RmsNorm, TokenView};
pub use rotary::{rotary_append, rotary_append_with, rotary_table};
