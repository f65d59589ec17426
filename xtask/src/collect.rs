//! A tier's test executables, collected for a machine that has the device and no Rust.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use crate::step::{self, say};

/// Runs all executables beside it; its arguments go to each of them.
const RUN_ALL: &str = include_str!("../run-all.sh");
/// What cargo "runs" a test executable with: it copies it to the folder that is its first argument.
const RUNNER: &str = r#"copy=$0/$CARGO_PKG_NAME.$(basename "$1" | sed 's/-[0-9a-f]*$//').test
cp "$1" "$copy" && { strip "$copy" 2>/dev/null || true; } && ls -sh "$copy""#;

/// Puts the test executables that `test`, a `cargo test`, would run into `out`, stripped, with
/// `run-all.sh`. What stands there is replaced.
///
/// # Errors
///
/// If the build fails or a file cannot be written; if `out` holds something else than such a
/// collection.
pub fn collect(test: &mut Command, out: &Path) -> Result<()> {
    clear(out)?;
    fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
    let runner = serde_json::to_string(&["sh", "-c", RUNNER, &out.to_string_lossy()])?;
    let runner = format!("target.'cfg(all())'.runner = {runner}");
    step::run("collecting the tests", test.args(["--config", &runner]))?;
    let script = out.join("run-all.sh");
    fs::write(&script, RUN_ALL).with_context(|| format!("writing {}", script.display()))?;
    say(format!("run them with: sh {}", script.display()));
    Ok(())
}

/// Removes an earlier collection, and nothing that a user may have put there.
fn clear(out: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(out) else {
        return Ok(());
    };
    for entry in entries {
        let file = entry?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        ensure!(
            (name.ends_with(".test") || name == "run-all.sh") && file.is_file(),
            "{} holds {name}, which is no test executable: name another --out",
            out.display()
        );
        fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::testing::alone;

    #[test]
    fn only_an_earlier_collection_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.test"), "").unwrap();
        fs::write(folder.path().join("run-all.sh"), "").unwrap();
        clear(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        fs::write(folder.path().join("thesis.tex"), "").unwrap();
        let error = clear(folder.path()).unwrap_err().to_string();
        assert!(error.contains("thesis.tex"), "{error}");
        clear(&folder.path().join("missing")).unwrap();
    }

    #[test]
    fn what_the_runner_copies_is_run_by_the_script_which_fails_if_one_does() {
        let _alone = alone();
        let (built, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let add = |name: &str, text: &str| {
            let file = built.path().join(name);
            fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
            let mut runner = Command::new("sh");
            runner.args(["-c", RUNNER]).arg(out.path()).arg(&file);
            step::output("runner", runner.env("CARGO_PKG_NAME", "layers")).unwrap();
        };
        let script = out.path().join("run-all.sh");
        fs::write(&script, RUN_ALL).unwrap();
        let run = || step::output("tests", Command::new("sh").arg(&script).arg("--quiet"));
        add("good_one-0123abcd", "echo \"good ran with $1\"");
        let said = run().unwrap();
        assert!(
            said.contains("./layers.good_one.test\ngood ran with --quiet"),
            "{said}"
        );
        add("bad-4567", "exit 101");
        assert!(run().is_err());
    }
}
