//! What the subcommands do.

mod bench;
mod classify;
mod convert;
mod embed;
mod generate;
mod inspect;
mod logits;
mod perplexity;
#[cfg(feature = "serve")]
mod serve;

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::Command;

/// Runs a subcommand; what it found may be in the exit code.
pub fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Generate(args) => generate::run(args)?,
        Command::Logits(args) => logits::run(args)?,
        Command::Convert(args) => convert::run(args)?,
        Command::Inspect(args) => return inspect::run(args),
        Command::Perplexity(args) => perplexity::run(args)?,
        Command::Embed(args) => embed::run(args)?,
        Command::Classify(args) => classify::run(args)?,
        Command::Bench(args) => bench::run(args)?,
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(args)?,
    }
    Ok(ExitCode::SUCCESS)
}
