//! `cargo xtask demo`: the whole way of a model, from training to packed text generation.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{
    cargo::cargo,
    step::{self, say},
    tools,
};

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

/// Runs the chore and prints how long building and running took.
///
/// # Errors
///
/// If there is no C compiler, or the build or the program fails.
pub fn run(args: &Args) -> Result<()> {
    tools::require_linker()?;
    let started = Instant::now();
    let mut build = cargo(&["build", "--release", "--package", PACKAGE]);
    step::run("building the demo", &mut build)?;
    let built = started.elapsed();

    let started = Instant::now();
    let mut demo = cargo(&[
        "run",
        "--release",
        "--quiet",
        "--package",
        PACKAGE,
        "--",
        "demo",
    ]);
    step::run("running the demo", demo.args(arguments(&args.args)))?;
    say(format!(
        "demo: built in {}, ran in {}",
        clock(built),
        clock(started.elapsed())
    ));
    Ok(())
}

/// The user's arguments, and our output folder unless they name one.
fn arguments(given: &[String]) -> Vec<String> {
    let own_output = |word: &String| word == "--output" || word.starts_with("--output=");
    let output: &[&str] = if given.iter().any(own_output) {
        &[]
    } else {
        &["--output", OUTPUT]
    };
    output
        .iter()
        .map(|word| (*word).to_owned())
        .chain(given.iter().cloned())
        .collect()
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{} min {:02} s", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_output_folder_is_ours_unless_the_user_names_one() {
        assert_eq!(arguments(&[]), ["--output", "target/demo"]);
        let more = arguments(&words("--steps 3"));
        assert_eq!(more, ["--output", "target/demo", "--steps", "3"]);
        for own in ["--output there", "--output=there"] {
            assert_eq!(arguments(&words(own)), words(own));
        }
    }

    #[test]
    fn times_read_as_minutes_and_seconds() {
        assert_eq!(clock(Duration::from_millis(7_900)), "0 min 07 s");
        assert_eq!(clock(Duration::from_secs(754)), "12 min 34 s");
    }
}
