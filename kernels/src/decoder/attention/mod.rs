//! Causal attention over a key-value cache, with grouped query heads.
//!
//! A token at position `p` of row `r` attends to positions `0..=p` of that row; softmax in f32, in
//! one pass over the keys (Milakov and Gimelshein, <https://arxiv.org/abs/1805.02867>). With few
//! tokens cubes share the positions of a head, and the last of them to arrive adds up their parts,
//! in the order of the positions (Dao et al., flash-decoding).

mod base;
mod combine;
mod cuda;
mod launch;
mod planes;
mod serial;
pub mod training;

pub use base::AttentionScratch;
pub use launch::{launch, prefill, slots};
