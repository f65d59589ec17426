//! What the subcommands do.

mod bench;
mod convert;
mod generate;
mod inspect;
mod logits;

use anyhow::Result;

use crate::cli::Command;

/// Runs a subcommand.
pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Generate(args) => generate::run(args),
        Command::Logits(args) => logits::run(args),
        Command::Convert(args) => convert::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Bench(args) => bench::run(args),
    }
}
