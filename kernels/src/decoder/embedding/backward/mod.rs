//! The gradient of a table of embeddings: rows of `dy` added up by id, without atomics.
//!
//! Tokens are ordered by id, those of one id by position: each block of 1024 tokens by counting
//! smaller ones (`T · 1024` comparisons), blocks with each other by binary search (`T²/1024 · 10`
//! steps). The order is cut into chunks of 32 tokens, whatever the ids: a cube line of units walks
//! a chunk and adds rows; an id that ends in the chunk where it began is written at once, and of one
//! that does not the sums of its chunks are added in their order. So rows are read once, an id of
//! every token costs no more than ids of one token each, and ids that do not occur get zeros in the
//! pass that adds chunks. Memory moved: `dy`, the table once, and `K/8` bytes a token of partial sums.

mod launch;
mod order;
mod sums;

pub use launch::backward;
