//! The CUDA tier's test executables, collected for a machine that has a GPU and no Rust.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{
    cargo::{cargo, workspace_root},
    members::Member,
    step::{self, say},
    test::{gpu_members, select},
    tools,
};

/// Arguments for the tests that are ignored because they need a Hopper GPU.
pub const HOPPER_TESTS: [&str; 2] = ["--ignored", "hopper"];

/// Whether the first GPU that the driver lists is a Hopper one, compute capability 9.0.
pub fn has_hopper() -> bool {
    let output = Command::new("nvidia-smi")
        .args(["--query-gpu=compute_cap", "--format=csv,noheader"])
        .output();
    output.is_ok_and(|output| {
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().next().map(str::trim) == Some("9.0")
    })
}

/// Runs all executables beside it; its arguments go to each of them.
const RUN_ALL: &str = r#"#!/bin/sh
# Runs every test executable in this folder and says which failed. Arguments go to each of them.
# Needs an NVIDIA driver, and CUDA's NVRTC and headers (CUDA_PATH, or /usr/local/cuda).
# Without arguments, a Hopper GPU also runs the tests that are ignored because they need one.
cd "$(dirname "$0")" || exit 1
# A graph that is being captured tolerates no other thread that allocates on the GPU.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-1}"
failed=""
hopper=""
if [ $# -eq 0 ] && nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | grep -q '^9\.0'; then
    hopper=yes
fi
for executable in ./*.test; do
    echo "==> $executable"
    "$executable" "$@" || failed="$failed $executable"
    if [ -n "$hopper" ]; then
        "$executable" --ignored hopper || failed="$failed $executable"
    fi
done
[ -z "$failed" ] && exit 0
echo "failed:$failed"
exit 1
"#;

/// A test executable that cargo built.
#[derive(Debug, PartialEq, Eq)]
struct Executable {
    /// `<crate>.<target>`, such as `tritburn-kernels.gemv`.
    name: String,
    file: PathBuf,
}

/// Builds the tier and puts its executables, stripped, with `run-all.sh` into `out`.
///
/// A relative `out` is taken from the workspace root. What stands there is replaced.
///
/// # Errors
///
/// If the build fails, builds no test, or a file cannot be written; if `out` holds something else
/// than such a collection.
pub fn collect(members: &[Member], out: &Path) -> Result<()> {
    let out = workspace_root().join(out);
    clear(&out)?;
    let chosen = gpu_members(members);
    let executables = build(&chosen)?;
    ensure!(
        !executables.is_empty(),
        "building the GPU tier: cargo built no test executable"
    );

    let names: Vec<String> = executables
        .iter()
        .map(|built| format!("{}.test", built.name))
        .collect();
    fs::create_dir_all(&out).with_context(|| format!("making {}", out.display()))?;
    for (built, name) in executables.iter().zip(&names) {
        let copy = out.join(name);
        fs::copy(&built.file, &copy).with_context(|| format!("writing {}", copy.display()))?;
        if tools::find("strip").is_some() {
            step::output("stripping", Command::new("strip").arg(&copy))?;
        }
        let bytes = fs::metadata(&copy)?.len();
        say(format!("{} ({:.1} MB)", copy.display(), bytes as f64 / 1e6));
    }
    let script = out.join("run-all.sh");
    fs::write(&script, RUN_ALL).with_context(|| format!("writing {}", script.display()))?;
    say(format!(
        "run them on the GPU machine with: sh {}",
        script.display()
    ));
    Ok(())
}

/// Removes an earlier collection, and nothing that a user may have put there.
fn clear(out: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(out) else {
        return Ok(());
    };
    for entry in entries {
        let file = entry?.path();
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !(name.ends_with(".test") || name == "run-all.sh") || !file.is_file() {
            bail!(
                "{} holds {name}, which is no test executable: name another --out",
                out.display()
            );
        }
        fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
    }
    Ok(())
}

fn build(chosen: &[&Member]) -> Result<Vec<Executable>> {
    let mut command = cargo(&[
        "test",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]);
    select(&mut command, chosen);
    let line = step::command_line(&command);
    say(format!("building the GPU tier: {line}"));
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("building the GPU tier: cannot start `{line}`"))?;
    ensure!(
        output.status.success(),
        "building the GPU tier failed: `{line}` ({})",
        output.status
    );
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .filter_map(|message| executable(message, chosen))
        .collect())
}

/// The test executable that one of cargo's JSON messages announces, if it is one.
fn executable(message: &str, members: &[&Member]) -> Option<Executable> {
    let message: Value = serde_json::from_str(message).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let file = PathBuf::from(message["executable"].as_str()?);
    let package = message["package_id"].as_str()?;
    let owner = members.iter().find(|member| is_of(package, &member.name))?;
    let target = &message["target"];
    let is_library = target["kind"].as_array()?.iter().any(|kind| kind == "lib");
    let target = if is_library {
        "lib"
    } else {
        target["name"].as_str()?
    };
    Some(Executable {
        name: format!("{}.{target}", owner.name),
        file,
    })
}

/// Package ids end in `/name#1.0.0` or, where the folder has another name, in `#name@1.0.0`.
fn is_of(package_id: &str, name: &str) -> bool {
    let Some((path, version)) = package_id.rsplit_once('#') else {
        return false;
    };
    match version.split_once('@') {
        Some((own, _)) => own == name,
        None => path.rsplit('/').next() == Some(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::alone;

    fn member(name: &str) -> Member {
        Member {
            name: name.to_owned(),
            features: vec!["cuda".to_owned()],
            is_library: true,
        }
    }

    #[test]
    fn test_executables_are_named_by_crate_and_target() {
        let (layers, kernels) = (member("layers"), member("layers-kernels"));
        let members = [&layers, &kernels];
        let unit = r#"{"reason":"compiler-artifact","package_id":"path+file:///p/crates/layers#0.1.0",
            "target":{"kind":["lib"],"name":"layers"},"profile":{"test":true},"executable":"/t/a-1"}"#;
        let found = executable(unit, &members).unwrap();
        assert_eq!(
            found,
            Executable {
                name: "layers.lib".into(),
                file: "/t/a-1".into()
            }
        );
        let gemv = r#"{"reason":"compiler-artifact",
            "package_id":"path+file:///p/kernels#layers-kernels@0.1.0",
            "target":{"kind":["test"],"name":"gemv"},"profile":{"test":true},"executable":"/t/g-2"}"#;
        assert_eq!(
            executable(gemv, &members).unwrap().name,
            "layers-kernels.gemv"
        );
    }

    #[test]
    fn other_messages_announce_no_test_executable() {
        let layers = member("layers");
        for message in [
            "not json",
            r#"{"reason":"build-finished","success":true}"#,
            r#"{"reason":"compiler-artifact","package_id":"path+file:///p/crates/layers#0.1.0",
                "target":{"kind":["lib"],"name":"layers"},"profile":{"test":false},"executable":"/t/bin"}"#,
            r#"{"reason":"compiler-artifact","package_id":"path+file:///p/crates/other#0.1.0",
                "target":{"kind":["lib"],"name":"other"},"profile":{"test":true},"executable":"/t/o"}"#,
        ] {
            assert_eq!(executable(message, &[&layers]), None, "{message}");
        }
    }

    #[test]
    fn only_an_earlier_collection_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.test"), "").unwrap();
        fs::write(folder.path().join("run-all.sh"), "").unwrap();
        clear(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        fs::write(folder.path().join("thesis.tex"), "").unwrap();
        assert!(
            clear(folder.path())
                .unwrap_err()
                .to_string()
                .contains("thesis.tex")
        );
        clear(&folder.path().join("missing")).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn the_script_runs_all_executables_and_fails_if_one_does() {
        let _alone = alone();
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let add = |name: &str, text: &str| {
            let file = folder.path().join(name);
            fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        };
        fs::write(folder.path().join("run-all.sh"), RUN_ALL).unwrap();
        let run = || {
            let script = folder.path().join("run-all.sh");
            Command::new("sh")
                .arg(script)
                .arg("--quiet")
                .output()
                .unwrap()
        };
        add("good.test", "echo \"good ran with $1\"");
        let passed = run();
        assert!(passed.status.success());
        assert!(String::from_utf8_lossy(&passed.stdout).contains("good ran with --quiet"));
        add("bad.test", "exit 101");
        let failed = run();
        assert!(!failed.status.success());
        let text = String::from_utf8_lossy(&failed.stdout).into_owned();
        assert!(
            text.contains("good ran") && text.contains("failed: ./bad.test"),
            "{text}"
        );
    }
}
