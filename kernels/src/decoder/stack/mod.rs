//! All layers of a decoder for one token, in one launch.
//!
//! A step of one sequence reads each weight once, which takes a GPU a quarter of the time that ten launches a
//! layer take. Here one cube a multiprocessor stays for the whole stack of layers. A layer has five phases:
//!
//! | phase | input | output |
//! |---|---|---|
//! | queries, keys, values | residual stream: norm, quantiser | q\|k\|v |
//! | attention | q\|k\|v: rotary embedding, cache | attended heads, shared by positions and merged |
//! | output | attended heads: norm, quantiser | what is added to the stream |
//! | gate and up | residual stream: norm, quantiser | gated values |
//! | down | gated values: norm, quantiser | what is added to the stream |
//!
//! Cubes hand on a phase's output through global memory, and count arrivals ([`device::grid`]) where launches
//! would separate kernels. Every cube normalises and quantises its input itself, and keeps the residual stream
//! in shared memory. Weights of a phase are loaded before its input is awaited, and weights of the phases
//! after it are on their way to L2.
//!
//! Results have the bits of the separate kernels. Attention over a cache of blocks has them too; over
//! contiguous rows, where the separate kernels share positions by the number of cubes that fit, its sums have
//! another order.

mod addresses;
mod base;
mod device;
mod launch;
mod share;

pub use addresses::{ENTRIES, StackLayer, record};
pub use base::{StackScratch, StackShape};
pub use launch::{launch, runs};
