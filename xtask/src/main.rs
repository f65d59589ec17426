//! The project's chores, run as `cargo xtask <command>`.
//!
//! Each command prints the steps it takes; an error names the step and the command that failed.

mod bench;
mod cargo;
mod check;
mod collect;
mod demo;
mod members;
mod setup;
mod step;
mod test;
#[cfg(test)]
mod testing;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's chores", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the features `cpu` and `cuda` need to build, where it is missing
    Setup(setup::Args),
    /// Train, pack, reload and run a small language model on this machine's CPU
    Demo(demo::Args),
    /// Run a tier of the test suite: the CPU's, or with --gpu, --vulkan, --wgpu, --neon another
    Test(test::Args),
    /// Check format, lints, spelling, dependencies, documentation and features
    Check(check::Args),
    /// Measure packed against dense matrix products
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Setup(args) => setup::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Bench(args) => bench::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
