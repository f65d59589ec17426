//! `cargo xtask bench`: the benchmark program, built in release for the device it shall run on.

use anyhow::Result;

use crate::{cargo::cargo, step};

/// Backend of the benchmark program's default feature.
const DEFAULT: &str = "flex";

#[derive(clap::Args)]
pub struct Args {
    /// Arguments for the benchmark program: `--device cuda|cpu|flex|wgpu`, `--suite
    /// decode|prefill|train|layers|training`; `--help` lists the others
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Runs the chore.
///
/// # Errors
///
/// If the build or the benchmark fails.
pub fn run(args: &Args) -> Result<()> {
    let mut command = cargo(&["run", "--release", "--package", "tritburn-bench"]);
    let device = device(&args.args);
    // One backend a build: the GPU ones take minutes longer to compile.
    command.args(["--no-default-features", "--features", device, "--"]);
    step::run("benchmarking", command.args(&args.args))
}

/// The value of `--device`; an unknown one is for the build to refuse.
fn device(args: &[String]) -> &str {
    let flag = args.iter().position(|arg| arg == "--device");
    let after = flag.and_then(|i| args.get(i + 1)).map(String::as_str);
    let joined = args.iter().find_map(|arg| arg.strip_prefix("--device="));
    after.or(joined).unwrap_or(DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_has_the_backend_of_the_device() {
        let found = |line: &str| {
            let args: Vec<String> = line.split_whitespace().map(String::from).collect();
            device(&args).to_string()
        };
        assert_eq!(found("--quick"), "flex");
        assert_eq!(found("--quick --device cuda --suite decode"), "cuda");
        assert_eq!(found("--device=wgpu"), "wgpu");
        assert_eq!(found("--device"), "flex");
    }
}
