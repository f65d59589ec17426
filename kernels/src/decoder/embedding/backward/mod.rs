//! The gradient of an embedding table: adds rows of `dy` by id, without atomics.
//!
//! 1. Sort the tokens by id, stably: blocks of 1024 tokens by counting smaller ids (`T · 1024`
//!    comparisons), then the blocks against each other by binary search (`T²/1024 · 10` steps).
//! 2. Cut the sorted order into chunks of 32 tokens, whatever their ids. One unit per chunk and line adds
//!    the rows. An id that begins and ends in one chunk is written to the table at once; otherwise each of
//!    its chunks stores a partial sum.
//! 3. One unit per id and line adds the partial sums of an id, in their order, and writes zeros for ids
//!    that do not occur.
//!
//! So every row is read once, and the time does not depend on how tokens are distributed over ids. Memory
//! traffic: `dy`, the table once, and `K/8` bytes of partial sums per token.

mod launch;
mod order;
mod sums;

pub use launch::backward;
