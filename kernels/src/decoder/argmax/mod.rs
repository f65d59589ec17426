//! Choice of the next token: the most likely one, or a random draw.

mod kernel;
mod launch;
mod noise;

pub use launch::{ArgmaxScratch, Draws, launch, launch_draw};
