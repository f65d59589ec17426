//! All layers of a decoder for one token, in one launch.
//!
//! A step of one sequence reads each weight once, which takes a Hopper GPU an eighth of the time that ten launches
//! a layer take. Here one cube a multiprocessor stays for the whole stack of layers. A layer has five phases:
//!
//! | phase | input | output |
//! |---|---|---|
//! | queries, keys, values | residual stream: norm, quantiser | q\|k\|v |
//! | attention | q\|k\|v: rotary embedding, cache | attended heads, shared by positions and merged |
//! | output | attended heads: norm, quantiser | what is added to the stream |
//! | gate and up | residual stream: norm, quantiser | gated values |
//! | down | gated values: norm, quantiser | what is added to the stream |
//!
//! Cubes hand on a phase's output through global memory, each word with the serial number of its layer
//! (`device/handoff.rs`), where launches would separate kernels. Every cube normalises and quantises its input
//! itself, and keeps the residual stream in shared memory. Weights are on their way before the phase that
//! multiplies them: those of gate, up and down to shared memory, a layer ahead, if it holds them; others to L2, and
//! to registers before the phase's input is awaited.
//!
//! Cubes that wait for each other are all resident: a cube takes most of a multiprocessor's shared memory, there
//! are no more of them than multiprocessors, and one stream at a time may run stacks. A cube that waits in vain
//! gives up after some seconds, and the result is NaN.
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
