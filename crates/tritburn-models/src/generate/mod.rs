//! Text generation: sequences, cache, captured decode steps, sampling.

mod run;
mod session;
mod step;

pub use run::{Finish, Generation, GenerationOptions, generate};
pub use session::Session;
