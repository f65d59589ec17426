//! The `tritburn` command: run, convert, inspect and measure 1.58-bit language models.

mod cli;
mod commands;
mod error;
mod memory;
mod model;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let filter =
        EnvFilter::try_from_env("TRITBURN_LOG").unwrap_or_else(|_| EnvFilter::new(cli.verbosity()));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    match commands::run(&cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tritburn: {error:#}");
            ExitCode::FAILURE
        }
    }
}
