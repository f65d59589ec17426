//! What the command line asks for.

mod bench;
mod demo;
mod eval;
mod train;

use crate::cli::{Cli, Command};
use crate::error::Error;

/// Runs the command.
///
/// # Errors
/// [`Error`], to be shown to the user as it is.
pub fn run(cli: Cli) -> Result<(), Error> {
    match cli.command {
        Command::Train(args) => train::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Demo(args) => demo::run(&args),
    }
}

/// Says what is trained on.
fn tell(data: &crate::data::Dataset) {
    println!(
        "{}: {} classes; {} images to train on, {} held out, {} to test on",
        data.source.display(),
        data.classes.len(),
        data.train.len(),
        data.valid.len(),
        data.test.len()
    );
}
