//! `cargo xtask test`: the test tiers, counted.

use std::{
    env,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{
    cargo::cargo,
    gpu_tests,
    members::{Member, feature_list, members},
    setup,
    step::{self, say},
};

/// The CPU tier: Burn's pure Rust backend, and CubeCL's CPU runtime for the kernels.
const CPU_TIER: [&str; 2] = ["flex", "cpu"];
/// Examples of the library that the CPU tier runs, in this order: one saves what the next one loads.
const EXAMPLES: [&str; 3] = ["train_and_pack", "load_and_run", "from_a_float_model"];
/// The GPU tier. The CPU backends stay out: they would only add to the build.
const GPU_TIER: [&str; 1] = ["cuda"];

#[derive(clap::Args)]
pub struct Args {
    /// The CUDA tier instead of the CPU tier
    #[arg(long)]
    gpu: bool,
    /// Collect the tier's test executables, to run them on a machine without Rust
    #[arg(long, requires = "gpu")]
    build_only: bool,
    /// Where --build-only collects them
    #[arg(long, requires = "build_only", default_value = "dist/gpu")]
    out: PathBuf,
    /// Arguments for the tests, after `--`: a name to filter by, `--nocapture` and so on
    #[arg(last = true, conflicts_with = "build_only")]
    args: Vec<String>,
}

/// Runs the chore. Its last line says how many tests passed, failed and were skipped.
///
/// # Errors
///
/// If setup or the build fails, if a test fails, or if no test ran.
pub fn run(args: &Args) -> Result<()> {
    setup::ensure()?;
    let members = members()?;
    if args.build_only {
        return gpu_tests::collect(&members, &args.out);
    }
    let mut command = if args.gpu {
        gpu_command(&members)
    } else {
        cpu_command(&members)
    };
    if !args.args.is_empty() {
        command.arg("--").args(&args.args);
    }
    let mut counts = run_counted(&mut command)?;
    if args.gpu && args.args.is_empty() && gpu_tests::has_hopper() {
        let mut command = gpu_command(&members);
        command.arg("--").args(gpu_tests::HOPPER_TESTS);
        counts.ran_later(run_counted(&mut command)?);
    }
    if !args.gpu && args.args.is_empty() {
        run_examples()?;
    }
    println!(
        "{} passed, {} failed, {} skipped",
        counts.passed, counts.failed, counts.ignored
    );
    Ok(())
}

/// Everything in one call, so that Burn is built once. Documentation examples are part of it.
///
/// `cargo test` and not nextest: CubeCL compiles its kernels anew in every process.
fn cpu_command(members: &[Member]) -> Command {
    let features = feature_list(members, &CPU_TIER);
    cargo(&[
        "test",
        "--workspace",
        "--no-fail-fast",
        "--features",
        &features,
    ])
}

/// Runs what `cargo test` has built: `cargo run` would build Burn anew, with other features.
fn run_examples() -> Result<()> {
    let program = env::current_exe().context("finding the folder that cargo builds into")?;
    let folder = program.with_file_name("examples");
    for name in EXAMPLES {
        step::run("running an example", &mut Command::new(folder.join(name)))?;
    }
    Ok(())
}

fn gpu_command(members: &[Member]) -> Command {
    let mut command = cargo(&["test", "--no-fail-fast"]);
    // A graph that is being captured tolerates no other thread that allocates on the GPU.
    command.env("RUST_TEST_THREADS", "1");
    select(&mut command, &gpu_members(members));
    command
}

/// Has cargo build the GPU tier of `chosen`. It refuses features of packages that are not selected.
pub fn select(command: &mut Command, chosen: &[&Member]) {
    for member in chosen {
        command.args(["--package", &member.name]);
    }
    let features = feature_list(chosen.iter().copied(), &GPU_TIER);
    command.args(["--features", &features]);
}

/// The members whose tests belong to the GPU tier.
pub fn gpu_members(members: &[Member]) -> Vec<&Member> {
    let chosen = members.iter().filter(|member| has_gpu_tests(member));
    chosen.collect()
}

/// Whether a member's tests belong to the GPU tier.
///
/// Programs stay out: their tests start the program by its path on the machine that built it, or read what
/// cargo unpacked there.
fn has_gpu_tests(member: &Member) -> bool {
    member.is_library
        && GPU_TIER
            .iter()
            .all(|tier| member.features.iter().any(|own| own == tier))
}

/// The sums of libtest's closing lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Counts {
    /// Adds tests that were ignored before and ran now.
    fn ran_later(&mut self, later: Self) {
        let Self { passed, failed, .. } = later;
        self.passed += passed;
        self.failed += failed;
        self.ignored -= self.ignored.min(passed + failed);
    }

    /// Adds a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; ..`; others are none.
    fn add(&mut self, line: &str) {
        let Some((_, result)) = line.split_once("test result: ") else {
            return;
        };
        for part in result.split(';') {
            let mut words = part.split_whitespace().rev();
            let (Some(what), Some(number)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// Runs a `cargo test`, passes its output through and counts its results.
fn run_counted(command: &mut Command) -> Result<Counts> {
    let line = step::command_line(command);
    say(format!("testing: {line}"));
    let start = || format!("testing: cannot start `{line}`");
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(start)?;
    let mut counts = Counts::default();
    if let Some(stdout) = child.stdout.take() {
        for text in BufReader::new(stdout).split(b'\n') {
            let text = text.context("testing: reading the output of the tests")?;
            let text = String::from_utf8_lossy(&text);
            counts.add(&text);
            println!("{text}");
        }
    }
    let status = child
        .wait()
        .with_context(|| format!("testing: waiting for `{line}`"))?;
    if !status.success() {
        println!(
            "{} passed, {} failed, {} skipped",
            counts.passed, counts.failed, counts.ignored
        );
        bail!("testing failed: `{line}` ({status})");
    }
    if counts.passed == 0 {
        bail!("testing: `{line}` ran no test");
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::alone;

    fn member(name: &str, features: &[&str], is_library: bool) -> Member {
        let features = features
            .iter()
            .map(|feature| (*feature).to_owned())
            .collect();
        Member {
            name: name.to_owned(),
            features,
            is_library,
        }
    }

    fn some_members() -> Vec<Member> {
        vec![
            member("layers", &["flex", "cpu", "cuda"], true),
            member("codecs", &[], true),
            member("example", &["cpu", "cuda"], false),
        ]
    }

    #[test]
    fn closing_lines_are_added_up_and_other_lines_ignored() {
        let mut counts = Counts::default();
        counts.add("running 3 tests");
        counts.add("test fails ... FAILED");
        counts.add(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; \
             finished in 0.00s",
        );
        counts.add("test result: \u{1b}[31mFAILED\u{1b}[m. 40 passed; 2 failed; 0 ignored; 0 ");
        assert_eq!(
            counts,
            Counts {
                passed: 43,
                failed: 2,
                ignored: 1
            }
        );
    }

    #[test]
    fn the_cpu_tier_is_one_call_for_the_whole_workspace() {
        let line = step::command_line(&cpu_command(&some_members()));
        let expected = "test --workspace --no-fail-fast \
                        --features layers/flex,layers/cpu,example/cpu";
        assert!(line.ends_with(expected), "{line}");
    }

    #[test]
    fn the_gpu_tier_is_made_of_the_libraries_that_know_cuda() {
        let members = some_members();
        let names: Vec<&str> = gpu_members(&members)
            .iter()
            .map(|member| member.name.as_str())
            .collect();
        assert_eq!(names, ["layers"]);
        let line = step::command_line(&gpu_command(&members));
        let expected = "test --no-fail-fast --package layers --features layers/cuda";
        assert!(line.ends_with(expected), "{line}");
    }

    #[test]
    fn a_run_without_tests_is_a_failure_and_a_failing_run_too() {
        let _alone = alone();
        let shell = |text: &str| run_counted(Command::new("sh").args(["-c", text]));
        assert!(shell("echo nothing").is_err());
        let passes = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'";
        assert_eq!(
            shell(passes).unwrap(),
            Counts {
                passed: 2,
                ..Counts::default()
            }
        );
        assert!(shell(&format!("{passes}; exit 101")).is_err());
    }
}
