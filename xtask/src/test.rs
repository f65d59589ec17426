//! `cargo xtask test`: the test tiers, counted.

use std::{
    env, fmt, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    cargo::{cargo, forget_xtask, workspace_root},
    collect,
    members::{Member, feature_list, members},
    setup,
    step::{self, say},
};

/// The CPU tier: Burn's pure Rust backend, and CubeCL's CPU runtime for the kernels.
const CPU_TIER: [&str; 2] = ["flex", "cpu"];
/// Examples of the library that the CPU tier runs, in this order: one saves what the next one loads.
const EXAMPLES: [&str; 3] = ["train_and_pack", "load_and_run", "from_a_float_model"];
/// The crate whose portable kernels the WebGPU tier runs.
const KERNELS: &str = "tritburn-kernels";
/// Arguments for the tests that are ignored because they need a Hopper GPU.
const HOPPER_TESTS: [&str; 2] = ["--ignored", "hopper"];
/// Tests of the CPU kernels that are ignored because few processors have what they need, and its name in
/// /proc/cpuinfo.
const PROCESSOR_TESTS: [(&str, &str); 2] = [
    (
        "avx512_vnni",
        "tile_loops_around_emulated_tiles_equal_the_reference",
    ),
    ("amx_int8", "tiles_equal_the_reference"),
];

#[derive(clap::Args)]
pub struct Args {
    /// The CUDA tier instead of the CPU tier
    #[arg(long, group = "device")]
    gpu: bool,
    /// The Vulkan tier, with kernels in SPIR-V
    #[arg(long, group = "device")]
    vulkan: bool,
    /// The CPU kernels and formats, built for 64-bit Arm and run by qemu-user
    #[arg(long, conflicts_with = "device")]
    neon: bool,
    /// The portable kernels through WebGPU: on a GPU, or on Mesa's software Vulkan
    #[arg(long, conflicts_with_all = ["device", "neon"])]
    wgpu: bool,
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
    let tier = match args {
        Args { gpu: true, .. } => Tier::Cuda,
        Args { vulkan: true, .. } => Tier::Vulkan,
        Args { neon: true, .. } => Tier::Neon,
        Args { wgpu: true, .. } => Tier::Wgpu,
        _ => Tier::Cpu,
    };
    if matches!(tier, Tier::Cpu | Tier::Cuda | Tier::Wgpu) {
        setup::ensure()?;
    }
    let mut command = tier.command(&members);
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
    let mut counts = run_counted(&mut command)?;
    let all = args.args.is_empty();
    if all && tier == Tier::Cuda && has_hopper() {
        let mut command = tier.command(&members);
        command.arg("--").args(HOPPER_TESTS);
        counts.ran_later(run_counted(&mut command)?);
    }
    if all && tier == Tier::Cpu {
        for test in processor_tests() {
            let mut command = cargo(&["test", "--package", "tritburn-cpu", "--lib", "--"]);
            // The whole path: the name of one ends that of the other.
            command.args(["--ignored", "--exact", &format!("w2a8::amx::tests::{test}")]);
            counts.ran_later(run_counted(&mut command)?);
        }
        run_examples()?;
    }
    println!("{counts}");
    Ok(())
}

/// Tests that one command builds and runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tier {
    /// Everything, on the CPU.
    Cpu,
    /// The libraries on an NVIDIA GPU.
    Cuda,
    /// The libraries on anything with a Vulkan driver.
    Vulkan,
    /// Formats and CPU kernels on 64-bit Arm.
    Neon,
    /// Portable kernels on anything with a Vulkan driver, as WGSL.
    Wgpu,
}

impl Tier {
    fn command(self, members: &[Member]) -> Command {
        match self {
            Self::Cpu => cpu_command(members),
            Self::Cuda => {
                let mut command = device_command(members, "cuda");
                // A graph that is being captured tolerates no other thread that allocates on the GPU.
                command.env("RUST_TEST_THREADS", "1");
                command
            }
            Self::Vulkan => device_command(members, "vulkan"),
            Self::Neon => script("neon.sh"),
            Self::Wgpu => wgpu_command(members),
        }
    }
}

/// A tier that needs more than Rust, which its script brings.
fn script(name: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg(workspace_root().join("xtask").join(name));
    forget_xtask(&mut command);
    command
}

/// Everything in one call, so that Burn is built once. Documentation examples are part of it.
///
/// `cargo test` and not nextest: CubeCL compiles its kernels anew in every process.
fn cpu_command(members: &[Member]) -> Command {
    let mut command = cargo(&["test", "--workspace", "--no-fail-fast"]);
    command.args(["--features", &feature_list(members, &CPU_TIER)]);
    command
}

/// The portable kernels, with the features of the CPU tier and one more: what that tier has built is built
/// once.
fn wgpu_command(members: &[Member]) -> Command {
    let features = feature_list(members, &CPU_TIER);
    let mut command = script("wgpu.sh");
    command.args(["--workspace", "--features", &features]);
    command.args(["--features", &format!("{KERNELS}/wgpu")]);
    command
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

/// The tests of the libraries that know the device of `feature`. The CPU backends stay out: they would
/// only add to the build; and so do documentation examples, which run on other devices.
///
/// Programs stay out, too: their tests start the program by its path on the machine that built it,
/// or read what cargo unpacked there.
fn device_command(members: &[Member], feature: &str) -> Command {
    let mut command = cargo(&["test", "--no-fail-fast", "--tests"]);
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

/// Those of [`PROCESSOR_TESTS`] that this machine can run; none where there is no /proc/cpuinfo.
fn processor_tests() -> Vec<&'static str> {
    let known = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags: Vec<&str> = known.split_whitespace().collect();
    let runs = PROCESSOR_TESTS
        .iter()
        .filter(|(flag, _)| flags.contains(flag));
    runs.map(|(_, test)| *test).collect()
}

/// Whether the first GPU that the driver lists is a Hopper one, compute capability 9.0.
fn has_hopper() -> bool {
    let mut query = Command::new("nvidia-smi");
    query.args(["--query-gpu=compute_cap", "--format=csv,noheader"]);
    let capabilities = step::output("asking for the GPU", &mut query);
    capabilities.is_ok_and(|text| text.lines().next() == Some("9.0"))
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

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (passed, failed, skipped) = (self.passed, self.failed, self.ignored);
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
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
        println!("{counts}");
        bail!("testing failed: `{line}` ({status})");
    }
    ensure!(counts != Counts::default(), "testing: `{line}` ran no test");
    Ok(counts)
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

    #[test]
    fn ignored_tests_that_ran_later_are_no_longer_skipped() {
        let mut counts = Counts::default();
        counts.add("test result: ok. 40 passed; 0 failed; 12 ignored; 0 measured; 0 filtered out");
        let mut later = Counts::default();
        later.add("test result: FAILED. 10 passed; 1 failed; 0 ignored; 0 measured; 41 filtered");
        counts.ran_later(later);
        assert_eq!(counts.to_string(), "50 passed, 1 failed, 1 skipped");
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
        assert_eq!(counts.to_string(), "43 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn the_cpu_tier_is_one_call_for_the_whole_workspace() {
        let line = step::command_line(&Tier::Cpu.command(&some_members()));
        let expected = "test --workspace --no-fail-fast \
                        --features layers/flex,layers/cpu,example/cpu";
        assert!(line.ends_with(expected), "{line}");
    }

    #[test]
    fn a_device_tier_is_made_of_the_libraries_that_know_the_device() {
        let line = |tier: Tier| step::command_line(&tier.command(&some_members()));
        let cuda = line(Tier::Cuda);
        let expected = "test --no-fail-fast --tests --package layers --features layers/cuda";
        assert!(cuda.ends_with(expected), "{cuda}");
        let wgpu = line(Tier::Wgpu);
        let expected = "wgpu.sh --workspace --features layers/flex,layers/cpu,example/cpu \
                        --features tritburn-kernels/wgpu";
        assert!(wgpu.ends_with(expected), "{wgpu}");
        let vulkan = line(Tier::Vulkan);
        let expected = "--package layers --features layers/vulkan";
        assert!(vulkan.ends_with(expected), "{vulkan}");
    }

    #[test]
    fn a_run_without_tests_is_a_failure_and_a_failing_run_too() {
        let _alone = alone();
        let shell = |text: &str| run_counted(Command::new("sh").args(["-c", text]));
        assert!(shell("echo nothing").is_err());
        let passes = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'";
        let counts = shell(passes).unwrap().to_string();
        assert_eq!(counts, "2 passed, 0 failed, 0 skipped");
        assert!(shell(&format!("{passes}; exit 101")).is_err());
    }
}
