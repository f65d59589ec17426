//! The `vision-transformer` command.

use std::process::ExitCode;

use clap::Parser;
use vision_transformer::cli::Cli;
use vision_transformer::commands;
use vision_transformer::error::chain;
use vision_transformer::logging;

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
