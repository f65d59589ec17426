//! Which programs this machine has, and the linker that every build needs.

use std::process::Command;

use anyhow::{Result, ensure};

/// Whether `program` can be started: every program that is asked for knows `--version`.
pub fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

/// Checks for the C compiler that rustc calls as its linker.
///
/// # Errors
///
/// Says how to install one. MSVC builds find their own linker and pass.
pub fn require_linker() -> Result<()> {
    ensure!(
        cfg!(target_env = "msvc") || has("cc"),
        "no C compiler: `cc` is not in PATH, and rustc links with it.\n\
         Debian, Ubuntu: apt-get install gcc libc6-dev\n\
         Fedora: dnf install gcc\n\
         macOS: xcode-select --install"
    );
    Ok(())
}
