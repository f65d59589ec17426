//! `cargo xtask demo`: the whole way of a model, from training to packed text generation.

use anyhow::Result;

use crate::{cargo::cargo, step, tools};

/// The training example, which needs nothing but Rust and a C compiler in its default features.
const PACKAGE: &str = "language-model";
/// Where the model and `report.json` go, in the workspace root.
const OUTPUT: &str = "target/demo";

#[derive(clap::Args)]
pub struct Args {
    /// More arguments for `language-model demo`, after `--`
    #[arg(last = true)]
    args: Vec<String>,
}

/// Runs the chore.
///
/// # Errors
///
/// If there is no C compiler, or the build or the program fails.
pub fn run(args: &Args) -> Result<()> {
    tools::require_linker()?;
    let mut build = cargo(&["build", "--release", "--package", PACKAGE]);
    step::run("building the demo", &mut build)?;
    let mut demo = cargo(&["run", "--release", "--quiet", "--package", PACKAGE]);
    demo.args(["--", "demo"]).args(arguments(&args.args));
    step::run("running the demo", &mut demo)
}

/// The user's arguments, and our output folder unless they name one.
fn arguments(given: &[String]) -> Vec<String> {
    let own_output = |word: &String| word == "--output" || word.starts_with("--output=");
    let output = format!("--output={OUTPUT}");
    let output = (!given.iter().any(own_output)).then_some(output);
    output.into_iter().chain(given.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_folder_is_ours_unless_the_user_names_one() {
        let arguments = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(ToString::to_string).collect();
            arguments(&given).join(" ")
        };
        assert_eq!(
            arguments(&["--steps", "3"]),
            "--output=target/demo --steps 3"
        );
        assert_eq!(arguments(&["--output", "there"]), "--output there");
        assert_eq!(arguments(&["--output=there"]), "--output=there");
    }
}
