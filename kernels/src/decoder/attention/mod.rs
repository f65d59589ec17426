//! Causal attention over a key-value cache, with grouped query heads.
//!
//! A token at position `p` of row `r` attends to positions `0..=p` of that row. The softmax is f32 and
//! takes one pass over the keys (Milakov and Gimelshein, <https://arxiv.org/abs/1805.02867>). With few
//! tokens, several cubes divide the positions of a head; the last cube to finish combines their partial
//! results in the order of the positions (Flash-Decoding, Dao et al.).

mod base;
mod combine;
mod cuda;
mod launch;
mod planes;
mod serial;
pub mod training;

pub use base::AttentionScratch;
pub(crate) use base::DecodePlan;
pub(crate) use combine::{combine_planes, combine_splits};
pub use launch::{launch, prefill, slots};
pub(crate) use planes::LOWEST;
