//! The LLVM prefix that Burn's `cpu` and `cuda` backends build against.
//!
//! Their build script (`tracel-llvm-bundler`) downloads LLVM from GitHub unless its prefix holds a
//! sentinel file, and then asks the prefix's `bin/llvm-config` for everything. A prefix with the
//! sentinel and a script that answers for the distribution's own LLVM serves just as well.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{self, Command},
};

use anyhow::{Context, Result, bail, ensure};

use crate::step;

/// The version of `tracel-llvm-bundler` in `Cargo.lock`; it names the prefix and the download.
pub const BUNDLE: &str = "23.1.0-4";
/// What the bundle's own `llvm-config --version` prints.
const BUNDLE_LLVM: &str = "23.1.0";
/// The file by which the build script knows a finished prefix.
const SENTINEL: &str = ".tracel-llvm-installed";
/// Marks a script of ours, which may be written anew.
const MARKER: &str = "# Written by `cargo xtask setup`.";
/// What the backends link. `native` stands for this machine's own target.
const COMPONENTS: &str = "core support passes orcjit native nvptx amdgpu bitreader bitwriter \
    irreader linker target mc mcjit executionengine analysis transformutils ipo object \
    debuginfodwarf";
/// What those components need of the system. Debian's LLVM lists libraries (z3, libxml2) for
/// parts that are not linked here.
const SYSTEM_LIBRARIES: &str = "-lrt -ldl -lm -lz -lzstd";

/// What stands where the build looks for LLVM.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    /// LLVM answers as the build needs.
    Installed,
    /// Nothing is there.
    Absent,
    /// A folder that cannot serve. `ours` if this program made it or nobody finished it.
    Broken { reason: String, ours: bool },
}

/// Where the build looks for LLVM: `tracel/tracel-llvm-<version>` in the user's local data folder.
///
/// # Errors
///
/// If the user has no such folder (no home).
pub fn prefix() -> Result<PathBuf> {
    // The build script asks the same crate, so XDG_DATA_HOME and other systems agree.
    let data = dirs::data_local_dir().context("this user has no home folder")?;
    Ok(prefix_in(&data))
}

fn prefix_in(data: &Path) -> PathBuf {
    data.join("tracel").join(format!("tracel-llvm-{BUNDLE}"))
}

/// The file whose presence on GitHub shows that the build can download LLVM.
pub fn download_url() -> String {
    let system = if cfg!(target_os = "macos") {
        "macos"
    } else if cfg!(target_os = "windows") {
        "windows"
    } else {
        "linux"
    };
    let machine = if cfg!(target_arch = "aarch64") {
        "AArch64"
    } else {
        "x64"
    };
    format!(
        "https://github.com/tracel-ai/tracel-llvm/releases/download/v{BUNDLE}/\
         {system}-{machine}.checksums.json"
    )
}

/// Looks at a prefix by asking its `llvm-config` what the build will ask.
pub fn state(prefix: &Path) -> State {
    if !prefix.exists() {
        return State::Absent;
    }
    match probe(prefix) {
        Ok(()) => State::Installed,
        Err(error) => {
            let script = fs::read(llvm_config(prefix)).unwrap_or_default();
            let ours = String::from_utf8_lossy(&script).contains(MARKER);
            let unfinished = !prefix.join(SENTINEL).is_file();
            State::Broken {
                reason: format!("{error:#}"),
                ours: ours || unfinished,
            }
        }
    }
}

fn llvm_config(prefix: &Path) -> PathBuf {
    let name = if cfg!(windows) {
        "llvm-config.exe"
    } else {
        "llvm-config"
    };
    prefix.join("bin").join(name)
}

fn probe(prefix: &Path) -> Result<()> {
    ensure!(
        prefix.join(SENTINEL).is_file(),
        "the file {SENTINEL} is missing"
    );
    let ask = |question: &str| {
        let mut command = Command::new(llvm_config(prefix));
        step::output("asking LLVM", command.args(["--link-static", question]))
    };
    let version = ask("--version")?;
    ensure!(
        version == BUNDLE_LLVM,
        "it says version {version}, not {BUNDLE_LLVM}"
    );
    ensure!(!ask("--libs")?.is_empty(), "it names no libraries");
    let libraries = PathBuf::from(ask("--libdir")?);
    ensure!(
        libraries.is_dir(),
        "its library folder {} does not exist",
        libraries.display()
    );
    Ok(())
}

/// The `llvm-config` of a prefix that stands for the distribution's LLVM.
pub fn script(real_llvm_config: &Path) -> String {
    let real = step::quote(&real_llvm_config.to_string_lossy());
    format!(
        "#!/bin/sh\n\
         {MARKER}\n\
         # Answers as LLVM {BUNDLE_LLVM} for the LLVM that the distribution installed.\n\
         for argument in \"$@\"; do\n\
         \x20   case \"$argument\" in\n\
         \x20       --version) echo {BUNDLE_LLVM}; exit 0 ;;\n\
         \x20       --system-libs) echo {SYSTEM_LIBRARIES}; exit 0 ;;\n\
         \x20       --libs) exec {real} --link-static --libs {COMPONENTS} ;;\n\
         \x20   esac\n\
         done\n\
         exec {real} \"$@\"\n"
    )
}

/// Makes the prefix around `real_llvm_config`, whole or not at all, in place of what is there.
///
/// # Errors
///
/// If a file cannot be written, or the finished prefix does not answer as the build needs.
pub fn install(prefix: &Path, real_llvm_config: &Path) -> Result<()> {
    let staging = sibling(prefix, "new")?;
    let result = stage(&staging, real_llvm_config).and_then(|()| swap_in(&staging, prefix));
    if staging.exists() {
        fs::remove_dir_all(&staging).with_context(|| format!("removing {}", staging.display()))?;
    }
    result
}

/// Removes a prefix that cannot serve, so that the build downloads its own.
///
/// # Errors
///
/// If the folder cannot be removed.
pub fn clear(prefix: &Path) -> Result<()> {
    match fs::remove_dir_all(prefix) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", prefix.display()))
        }
        _ => Ok(()),
    }
}

fn stage(staging: &Path, real_llvm_config: &Path) -> Result<()> {
    let program = llvm_config(staging);
    let write = || -> io::Result<()> {
        fs::create_dir_all(staging.join("bin"))?;
        fs::write(&program, script(real_llvm_config))?;
        make_executable(&program)?;
        fs::write(staging.join(SENTINEL), "")
    };
    write().with_context(|| format!("writing {}", staging.display()))?;
    probe(staging).context("the new LLVM prefix does not answer")
}

/// Renames within one folder: a reader sees the old prefix or the new one, never half of one.
fn swap_in(staging: &Path, prefix: &Path) -> Result<()> {
    let old = sibling(prefix, "old")?;
    let had_old = prefix.exists();
    if had_old {
        fs::rename(prefix, &old).with_context(|| format!("moving {} away", prefix.display()))?;
    }
    if let Err(error) = fs::rename(staging, prefix) {
        // Another setup may have finished first; its prefix is as good as ours.
        if state(prefix) != State::Installed {
            bail!(
                "moving {} to {}: {error}",
                staging.display(),
                prefix.display()
            );
        }
    }
    if had_old { clear(&old) } else { Ok(()) }
}

fn sibling(prefix: &Path, suffix: &str) -> Result<PathBuf> {
    let name = prefix
        .file_name()
        .context("the LLVM prefix has no name")?
        .to_string_lossy();
    Ok(prefix.with_file_name(format!(".{name}.{}.{suffix}", process::id())))
}

#[cfg(unix)]
fn make_executable(file: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_executable(_file: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::{cargo::workspace_root, testing::alone};

    /// An `llvm-config` that prints its arguments, but a real folder for `--libdir`.
    fn fake_llvm(folder: &Path) -> PathBuf {
        let file = folder.join("llvm config-22");
        let text = format!(
            "#!/bin/sh\ncase \"$*\" in *--libdir) echo '{}';; *) echo \"$@\";; esac\n",
            folder.display()
        );
        fs::write(&file, text).unwrap();
        make_executable(&file).unwrap();
        file
    }

    fn ask(prefix: &Path, arguments: &[&str]) -> String {
        step::output("test", Command::new(llvm_config(prefix)).args(arguments)).unwrap()
    }

    #[test]
    fn the_bundle_is_the_one_in_the_lock_file() {
        let lock = fs::read_to_string(workspace_root().join("Cargo.lock")).unwrap();
        let entry = format!("name = \"tracel-llvm-bundler\"\nversion = \"{BUNDLE}\"\n");
        assert!(
            lock.contains(&entry),
            "Cargo.lock holds another version than {BUNDLE}"
        );
        assert!(BUNDLE.starts_with(&format!("{BUNDLE_LLVM}-")));
    }

    #[test]
    fn the_prefix_lies_where_the_build_script_looks() {
        let path = prefix_in(Path::new("/home/me/.local/share"));
        assert_eq!(
            path,
            Path::new("/home/me/.local/share/tracel/tracel-llvm-23.1.0-4")
        );
    }

    #[test]
    fn an_installed_prefix_answers_as_the_build_asks() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let prefix = prefix_in(folder.path());
        assert_eq!(state(&prefix), State::Absent);
        install(&prefix, &fake_llvm(folder.path())).unwrap();

        assert_eq!(state(&prefix), State::Installed);
        assert_eq!(ask(&prefix, &["--link-static", "--version"]), "23.1.0");
        assert_eq!(
            ask(&prefix, &["--link-static", "--system-libs"]),
            SYSTEM_LIBRARIES
        );
        let libs = format!("--link-static --libs {COMPONENTS}");
        assert_eq!(ask(&prefix, &["--link-static", "--libs"]), libs);
        let passed = ask(&prefix, &["--link-static", "--includedir"]);
        assert_eq!(passed, "--link-static --includedir");
    }

    #[test]
    fn nothing_is_left_beside_the_prefix() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let prefix = prefix_in(folder.path());
        install(&prefix, &fake_llvm(folder.path())).unwrap();
        install(&prefix, &fake_llvm(folder.path())).unwrap();
        assert_eq!(
            fs::read_dir(folder.path().join("tracel")).unwrap().count(),
            1
        );
    }

    #[test]
    fn a_failed_install_leaves_the_old_prefix_alone() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let prefix = prefix_in(folder.path());
        install(&prefix, &fake_llvm(folder.path())).unwrap();
        let error = install(&prefix, Path::new("/no/such/llvm-config-22")).unwrap_err();
        assert!(
            format!("{error:#}").contains("does not answer"),
            "{error:#}"
        );
        assert_eq!(state(&prefix), State::Installed);
        assert_eq!(
            fs::read_dir(folder.path().join("tracel")).unwrap().count(),
            1
        );
    }

    #[test]
    fn a_broken_prefix_is_ours_if_we_wrote_it_or_nobody_finished_it() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let prefix = prefix_in(folder.path());
        let real = fake_llvm(folder.path());
        install(&prefix, &real).unwrap();
        fs::remove_file(&real).unwrap();
        assert!(matches!(state(&prefix), State::Broken { ours: true, .. }));

        fs::write(llvm_config(&prefix), "#!/bin/sh\nexit 1\n").unwrap();
        assert!(matches!(state(&prefix), State::Broken { ours: false, .. }));
        fs::remove_file(prefix.join(SENTINEL)).unwrap();
        assert!(matches!(state(&prefix), State::Broken { ours: true, .. }));
        clear(&prefix).unwrap();
        assert_eq!(state(&prefix), State::Absent);
        clear(&prefix).unwrap();
    }
}
