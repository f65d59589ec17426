//! What training needs around the 2-bit products: gradients, the loss, the optimiser.
//!
//! All in f32. The same input gives the same bits on every run, whatever the number of threads:
//! sums over tokens are made of blocks of fixed size, added in order.

mod adamw;
mod attention;
mod cross_entropy;
mod embedding;
mod gelu;
mod norm;
mod rotary;
mod rows;

pub use adamw::{AdamWStep, adamw, square_sum};
pub use attention::{Sequences, sequence_attention, sequence_attention_backward};
pub use cross_entropy::{CrossEntropy, cross_entropy, cross_entropy_gradient};
pub use embedding::embedding_backward;
pub use gelu::{gelu, gelu_backward};
pub use norm::{gated_backward, rms_norm_backward};
pub use rotary::rotate;
