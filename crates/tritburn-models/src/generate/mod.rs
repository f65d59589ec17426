//! Text generation: sequences, cache, captured decode steps, sampling; and how well texts are foretold.

mod perplexity;
mod run;
mod session;
mod step;

pub use perplexity::{Perplexity, PerplexityError, Scored, Scorer, Windows};
pub use run::{Finish, Generation, GenerationOptions, generate};
pub use session::Session;
