//! `cargo xtask check`: everything about the code that is not a test.

use anyhow::{Result, bail};
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
/// The features that `features` looks at one by one; `none` is no feature at all.
const BACKENDS: [&str; 7] = ["none", "flex", "cpu", "cuda", "wgpu", "vulkan", "metal"];
/// Looked at only where it is named: it needs LLD as a library, which the LLVM that the build
/// downloads has and Debian's has not.
const ON_DEMAND: &str = "rocm";
/// The crate a user depends on.
const LIBRARY: &str = "tritburn";

#[derive(clap::Args)]
pub struct Args {
    /// What to check; everything if left out
    #[arg(value_enum)]
    checks: Vec<Check>,
    /// For `features`: only these, by name; `none` is no feature
    #[arg(long, value_delimiter = ',')]
    backends: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Check {
    /// All of them
    All,
    /// rustfmt
    Format,
    /// clippy on all targets with all backends that compile here; a warning is an error
    Lint,
    /// Spelling, where the program `typos` is installed
    Typos,
    /// Licences, sources and advisories of dependencies, where `cargo-deny` is installed
    Audit,
    /// rustdoc; a warning is an error
    Docs,
    /// clippy on the library with each backend alone, and with none
    Features,
}

impl Check {
    /// Cheap ones first: they fail soonest.
    const EACH: [Self; 6] = [
        Self::Format,
        Self::Typos,
        Self::Audit,
        Self::Lint,
        Self::Docs,
        Self::Features,
    ];

    /// Whether it runs the build scripts of crates that need LLVM.
    fn needs_llvm(self) -> bool {
        matches!(self, Self::Lint | Self::Docs | Self::Features)
    }
}

/// Runs the chore; the first check that fails ends it.
///
/// # Errors
///
/// Names the check and the command that failed.
pub fn run(args: &Args) -> Result<()> {
    let chosen = chosen(&args.checks);
    if chosen.iter().any(|check| check.needs_llvm()) {
        setup::ensure()?;
    }
    for check in chosen {
        match check {
            Check::All => {}
            Check::Format => step::run("format", &mut cargo(&["fmt", "--all", "--check"]))?,
            Check::Lint => lint()?,
            Check::Typos => typos()?,
            Check::Audit => audit()?,
            Check::Docs => docs()?,
            Check::Features => features(&args.backends)?,
        }
    }
    Ok(())
}

fn chosen(named: &[Check]) -> Vec<Check> {
    if named.is_empty() || named.contains(&Check::All) {
        Check::EACH.to_vec()
    } else {
        named.to_vec()
    }
}

fn lint() -> Result<()> {
    let features = feature_list(&members()?, &LINTED);
    let mut command = cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--features",
        &features,
    ]);
    step::run("lint", command.args(["--", "-D", "warnings"]))
}

fn docs() -> Result<()> {
    let features = feature_list(&members()?, &LINTED);
    let mut command = cargo(&["doc", "--workspace", "--no-deps", "--features", &features]);
    step::run("docs", command.env("RUSTDOCFLAGS", "-D warnings"))
}

fn typos() -> Result<()> {
    if tools::find("typos").is_none() {
        say("typos: skipped, not installed (cargo install typos-cli, or pip install typos)");
        return Ok(());
    }
    let mut command = std::process::Command::new("typos");
    step::run("typos", command.current_dir(workspace_root()))
}

fn audit() -> Result<()> {
    if tools::find("cargo-deny").is_none() {
        say("audit: skipped, not installed (cargo install cargo-deny)");
        return Ok(());
    }
    step::run("audit", &mut cargo(&["deny", "check"]))
}

fn features(named: &[String]) -> Result<()> {
    for backend in backends(named)? {
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

/// The backends to look at: those that are named, or all that compile anywhere.
fn backends(named: &[String]) -> Result<Vec<&str>> {
    if named.is_empty() {
        return Ok(BACKENDS.to_vec());
    }
    for name in named {
        if !BACKENDS.contains(&name.as_str()) && name != ON_DEMAND {
            bail!(
                "no backend {name}: there are {} and {ON_DEMAND}",
                BACKENDS.join(", ")
            );
        }
    }
    Ok(named.iter().map(String::as_str).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::alone;

    #[test]
    fn no_name_and_all_mean_every_check() {
        assert_eq!(chosen(&[]), Check::EACH);
        assert_eq!(chosen(&[Check::All, Check::Docs]), Check::EACH);
        assert_eq!(
            chosen(&[Check::Docs, Check::Lint]),
            [Check::Docs, Check::Lint]
        );
        let known = Check::value_variants()
            .iter()
            .filter(|check| **check != Check::All);
        assert!(known.clone().all(|check| Check::EACH.contains(check)));
        assert_eq!(known.count(), Check::EACH.len());
    }

    #[test]
    fn the_library_has_every_backend_that_is_checked() {
        let _alone = alone();
        let members = members().unwrap();
        let library = members
            .iter()
            .find(|member| member.name == LIBRARY)
            .unwrap();
        for backend in BACKENDS
            .into_iter()
            .chain([ON_DEMAND])
            .filter(|name| *name != "none")
        {
            assert!(
                library.features.iter().any(|own| own == backend),
                "no feature {backend}"
            );
        }
    }

    #[test]
    fn backends_are_looked_at_by_name_and_unknown_ones_refused() {
        let named = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(backends(&[]).unwrap(), BACKENDS);
        assert_eq!(
            backends(&named(&["rocm", "none"])).unwrap(),
            ["rocm", "none"]
        );
        let error = backends(&named(&["flex", "opencl"]))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("no backend opencl"), "{error}");
    }
}
