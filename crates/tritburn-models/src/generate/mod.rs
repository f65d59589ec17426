//! Text generation: sequences, cache, captured decode steps, sampling; and how well texts are foretold.

mod perplexity;
mod run;
mod session;
mod step;

pub use perplexity::{Perplexity, PerplexityError, Scored, Scorer, Windows};
pub(crate) use run::read;
pub use run::{Finish, Generation, GenerationOptions, generate};
pub use session::Session;
pub(crate) use step::{DecodeStep, words};
