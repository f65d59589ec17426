//! `cargo xtask bench`: the benchmark program, built in release.

use anyhow::Result;

use crate::{cargo::cargo, step};

#[derive(clap::Args)]
pub struct Args {
    /// Arguments for the benchmark program, `--help` among them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Runs the chore.
///
/// # Errors
///
/// If the build or the benchmark fails.
pub fn run(args: &Args) -> Result<()> {
    let mut command = cargo(&["run", "--release", "--package", "tritburn-bench", "--"]);
    step::run("benchmarking", command.args(&args.args))
}
