//! The `tritburn` command: run, convert, inspect and measure 1.58-bit language models.

mod cli;
mod commands;
mod error;
mod interrupt;
mod memory;
mod model;
mod output;
mod say;

use std::io::{IsTerminal, stderr};
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = cli::Cli::from_command_line();
    let filter =
        EnvFilter::try_from_env("TRITBURN_LOG").unwrap_or_else(|_| EnvFilter::new(cli.verbosity()));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(stderr().is_terminal())
        // A reader that has gone is no reason to fail.
        .log_internal_errors(false)
        .with_target(false);
    match cli.logs_json() {
        true => log.json().flatten_event(true).init(),
        false => log.init(),
    }
    match commands::run(&cli.command) {
        Ok(code) => code,
        Err(error) if error::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            say::say!("tritburn: {}", error::message(&error));
            ExitCode::FAILURE
        }
    }
}
