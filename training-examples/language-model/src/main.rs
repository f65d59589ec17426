//! The `language-model` command.

use std::process::ExitCode;

use clap::Parser;
use language_model::cli::Cli;
use language_model::commands;
use language_model::error::chain;
use language_model::logging;

fn main() -> ExitCode {
    logging::init();
    match commands::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}
