//! `cargo xtask check`: everything about the code that is not a test.

use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;

use crate::{
    cargo::{cargo, workspace_root},
    members::{feature_list, members},
    setup,
    step::{self, say},
    tools,
};

/// What lints and documentation look at: every backend that compiles on Linux and that our code
/// treats differently, in one build of the dependencies.
const LINTED: [&str; 5] = ["flex", "cpu", "cuda", "wgpu", "vulkan"];
/// The features that `features` looks at one by one; `none` is no feature at all. The last only where
/// it is named: it needs LLD as a library, which the LLVM that the build downloads has and Debian's
/// has not.
const BACKENDS: [&str; 8] = [
    "none", "flex", "cpu", "cuda", "wgpu", "vulkan", "metal", "rocm",
];
/// The crate a user depends on.
const LIBRARY: &str = "tritburn";

#[derive(clap::Args)]
pub struct Args {
    /// What to check; everything if left out
    #[arg(value_enum)]
    checks: Vec<Check>,
    /// For `features`: only these, by name; `none` is no feature
    #[arg(long, value_delimiter = ',', value_parser = BACKENDS, default_values = &BACKENDS[..7])]
    backends: Vec<String>,
}

/// Cheap ones first: they fail soonest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Check {
    /// rustfmt
    Format,
    /// Spelling, where the program `typos` is installed
    Typos,
    /// Licences, sources and versions of dependencies, where `cargo-deny` is installed
    Audit,
    /// clippy on all targets with all backends that compile here; a warning is an error
    Lint,
    /// rustdoc; a warning is an error
    Docs,
    /// clippy on the library with each backend alone, and with none
    Features,
}

/// Runs the chore; the first check that fails ends it.
///
/// # Errors
///
/// Names the check and the command that failed.
pub fn run(args: &Args) -> Result<()> {
    let checks = match args.checks[..] {
        [] => Check::value_variants(),
        _ => &args.checks,
    };
    // These run the build scripts of crates that need LLVM.
    let builds = |check: &Check| matches!(check, Check::Lint | Check::Docs | Check::Features);
    if checks.iter().any(builds) {
        setup::ensure()?;
    }
    for check in checks {
        match check {
            Check::Format => step::run("format", &mut cargo(&["fmt", "--all", "--check"])),
            Check::Typos => installed("typos", "typos-cli", &mut Command::new("typos")),
            // Advisories change with the day and need the network: `cargo deny check advisories`.
            Check::Audit => {
                let mut deny = cargo(&["deny", "check", "licenses", "bans", "sources"]);
                installed("cargo-deny", "cargo-deny", &mut deny)
            }
            Check::Lint => lint(),
            Check::Docs => docs(),
            Check::Features => features(&args.backends),
        }?;
    }
    Ok(())
}

/// Runs a check by `program`, which the cargo package `package` has, where it is installed.
fn installed(program: &str, package: &str, command: &mut Command) -> Result<()> {
    if !tools::has(program) {
        say(format!(
            "{program}: skipped, not installed (cargo install {package})"
        ));
        return Ok(());
    }
    step::run(program, command.current_dir(workspace_root()))
}

/// A cargo command on the whole workspace, with all backends that are linted.
fn workspace(words: &[&str]) -> Result<Command> {
    let features = feature_list(&members()?, &LINTED);
    let mut command = cargo(words);
    command.args(["--workspace", "--features", &features]);
    Ok(command)
}

fn lint() -> Result<()> {
    let mut command = workspace(&["clippy", "--all-targets"])?;
    step::run("lint", command.args(["--", "-D", "warnings"]))
}

fn docs() -> Result<()> {
    // With examples, because tests and examples ask for features of dependencies: without them half of what
    // lints have built would be built again.
    let mut command = workspace(&["doc", "--no-deps", "--lib", "--examples"])?;
    // The other programs have the name of a library, as which they would be written.
    for program in ["tritburn-bench", "xtask"] {
        command.args(["--bin", program]);
    }
    step::run("docs", command.env("RUSTDOCFLAGS", "-D warnings"))
}

fn features(backends: &[String]) -> Result<()> {
    for backend in backends {
        let mut command = cargo(&["clippy", "--package", LIBRARY, "--no-default-features"]);
        if backend != "none" {
            command.args(["--features", backend]);
        }
        // What only another backend uses is dead code here.
        command.args(["--", "-D", "warnings"]);
        step::run(&format!("features: {backend}"), &mut command)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::alone;

    #[test]
    fn the_library_has_every_backend_that_is_checked() {
        let _alone = alone();
        let members = members().unwrap();
        let library = members.iter().find(|member| member.name == LIBRARY);
        let features = &library.unwrap().features;
        for backend in &BACKENDS[1..] {
            let known = features.iter().any(|own| own == backend);
            assert!(known, "no feature {backend}");
        }
    }
}
