//! `cargo xtask test`: the test tiers, counted.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{
    cargo::{cargo, workspace_root},
    collect,
    members::{Member, feature_list, members},
    setup,
    step::{self, say},
};

/// The CPU tier: Burn's pure Rust backend, and CubeCL's CPU runtime for the kernels.
const CPU_TIER: [&str; 2] = ["flex", "cpu"];

#[derive(clap::Args)]
pub struct Args {
    /// The CUDA tier instead of the CPU tier
    #[arg(long, group = "device")]
    gpu: bool,
    /// The Vulkan tier: on a GPU, or on Mesa's software Vulkan
    #[arg(long, group = "device")]
    vulkan: bool,
    /// The CPU kernels and formats, built for 64-bit Arm and run by qemu-user
    #[arg(long, conflicts_with = "device")]
    neon: bool,
    /// Collect the test executables of --gpu or --vulkan, to run them on a machine without Rust
    #[arg(long, requires = "device")]
    build_only: bool,
    /// Where --build-only collects them: `dist/gpu` or `dist/vulkan` if left out
    #[arg(long, requires = "build_only")]
    out: Option<PathBuf>,
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
    let members = members()?;
    let device = match (args.gpu, args.vulkan) {
        (true, _) => Some(Device::Cuda),
        (_, true) => Some(Device::Vulkan),
        _ => None,
    };
    if device != Some(Device::Vulkan) && !args.neon {
        setup::ensure()?;
    }
    let mut command = match device {
        Some(device) => device_command(&members, device),
        None if args.neon => neon_command(),
        None => cpu_command(&members),
    };
    if args.build_only {
        let usual = if args.vulkan {
            "dist/vulkan"
        } else {
            "dist/gpu"
        };
        let out = args.out.as_deref().unwrap_or(Path::new(usual));
        return collect::collect(&mut command, &workspace_root().join(out));
    }
    if !args.args.is_empty() {
        command.arg("--").args(&args.args);
    }
    run_counted(&mut command)
}

/// Everything in one call, so that Burn is built once. Documentation examples are part of it.
///
/// `cargo test` and not nextest: CubeCL compiles its kernels anew in every process.
fn cpu_command(members: &[Member]) -> Command {
    let mut command = cargo(&["test", "--workspace", "--no-fail-fast"]);
    command.args(["--features", &feature_list(members, &CPU_TIER)]);
    command
}

/// What brings Rust's library for another machine, builds for that and runs what it built.
fn neon_command() -> Command {
    let mut command = Command::new("sh");
    command.arg(workspace_root().join("xtask").join("neon.sh"));
    command
}

/// What a device tier runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Device {
    /// An NVIDIA GPU through CUDA.
    Cuda,
    /// Anything with a Vulkan driver.
    Vulkan,
}

/// The tests of the libraries that know `device`. The CPU backends stay out: they would only add to
/// the build; and so do documentation examples, which run on other devices.
///
/// Programs stay out, too: their tests start the program by its path on the machine that built it,
/// or read what cargo unpacked there.
fn device_command(members: &[Member], device: Device) -> Command {
    let mut command = cargo(&["test", "--no-fail-fast", "--tests"]);
    let feature = match device {
        Device::Cuda => {
            // A graph that is being captured tolerates no other thread that allocates on the GPU.
            command.env("RUST_TEST_THREADS", "1");
            "cuda"
        }
        Device::Vulkan => "vulkan",
    };
    let knows = |member: &&Member| member.features.iter().any(|own| own == feature);
    let libraries = members.iter().filter(|member| member.is_library);
    let chosen: Vec<&Member> = libraries.filter(knows).collect();
    // Cargo refuses features of packages that are not selected.
    for member in &chosen {
        command.args(["--package", &member.name]);
    }
    command.args(["--features", &feature_list(chosen, &[feature])]);
    command
}

/// The sums of libtest's closing lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Counts {
    /// Adds a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; ..`; others are none.
    fn add(&mut self, line: &str) {
        let Some((_, result)) = line.split_once("test result: ") else {
            return;
        };
        let number = |what| {
            let mut parts = result.split([';', '.']);
            let number = parts.find_map(|part| part.strip_suffix(what)?.trim().parse().ok());
            number.unwrap_or(0u64)
        };
        self.passed += number("passed");
        self.failed += number("failed");
        self.ignored += number("ignored");
    }
}

/// Runs a `cargo test`, passes its output through and closes with the sum of its results.
fn run_counted(command: &mut Command) -> Result<()> {
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
    println!(
        "{} passed, {} failed, {} skipped",
        counts.passed, counts.failed, counts.ignored
    );
    ensure!(status.success(), "testing failed: `{line}` ({status})");
    ensure!(counts != Counts::default(), "testing: `{line}` ran no test");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::alone;

    fn member(name: &str, features: &[&str], is_library: bool) -> Member {
        Member {
            name: name.to_owned(),
            features: features.iter().map(ToString::to_string).collect(),
            is_library,
        }
    }

    fn some_members() -> Vec<Member> {
        vec![
            member("layers", &["flex", "cpu", "cuda", "vulkan"], true),
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
        let expected = Counts {
            passed: 43,
            failed: 2,
            ignored: 1,
        };
        assert_eq!(counts, expected);
    }

    #[test]
    fn the_cpu_tier_is_one_call_for_the_whole_workspace() {
        let line = step::command_line(&cpu_command(&some_members()));
        let expected = "test --workspace --no-fail-fast \
                        --features layers/flex,layers/cpu,example/cpu";
        assert!(line.ends_with(expected), "{line}");
    }

    #[test]
    fn a_device_tier_is_made_of_the_libraries_that_know_the_device() {
        let line = |device| step::command_line(&device_command(&some_members(), device));
        let cuda = line(Device::Cuda);
        let expected = "test --no-fail-fast --tests --package layers --features layers/cuda";
        assert!(cuda.ends_with(expected), "{cuda}");
        let vulkan = line(Device::Vulkan);
        let expected = "--package layers --features layers/vulkan";
        assert!(vulkan.ends_with(expected), "{vulkan}");
    }

    #[test]
    fn a_run_without_tests_is_a_failure_and_a_failing_run_too() {
        let _alone = alone();
        let shell = |text: &str| run_counted(Command::new("sh").args(["-c", text]));
        assert!(shell("echo nothing").is_err());
        let passes = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'";
        shell(passes).unwrap();
        assert!(shell(&format!("{passes}; exit 101")).is_err());
    }
}
