//! Which programs this machine has, and the compilers that every build needs.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

/// The full path of `program`, looked up in `PATH`.
pub fn find(program: &str) -> Option<PathBuf> {
    find_in(&env::var_os("PATH")?, program)
}

fn find_in(path: &OsStr, program: &str) -> Option<PathBuf> {
    env::split_paths(path)
        .map(|folder| folder.join(program))
        .find(|file| is_executable(file))
}

#[cfg(unix)]
fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata()
        .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(file: &Path) -> bool {
    file.is_file() || file.with_extension("exe").is_file()
}

/// Checks for the C compiler that rustc calls as its linker.
///
/// # Errors
///
/// Says how to install one. MSVC builds find their own linker and pass.
pub fn require_linker() -> Result<()> {
    if cfg!(target_env = "msvc") || find("cc").is_some() {
        return Ok(());
    }
    bail!(
        "no C compiler: `cc` is not in PATH, and rustc links with it.\n\
         Debian, Ubuntu: apt-get install gcc libc6-dev\n\
         Fedora: dnf install gcc\n\
         macOS: xcode-select --install"
    )
}

#[cfg(all(test, unix))]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn only_executable_files_count_as_programs() {
        let folder = tempfile::tempdir().unwrap();
        let (tool, path) = (folder.path().join("tool"), folder.path().as_os_str());
        fs::create_dir(folder.path().join("folder")).unwrap();
        for (mode, found) in [(0o644, None), (0o755, Some(tool.clone()))] {
            fs::write(&tool, "").unwrap();
            fs::set_permissions(&tool, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(find_in(path, "tool"), found);
        }
        assert_eq!(find_in(path, "folder"), None);
    }
}
