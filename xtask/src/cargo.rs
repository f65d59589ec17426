//! Calling cargo in the workspace root.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// A cargo command that runs in the workspace root, with the same cargo that runs this program.
pub fn cargo(args: &[&str]) -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(workspace_root()).args(args);
    forget_xtask(&mut command);
    command
}

/// Takes away what `cargo run` says of xtask's own package, for a command that calls cargo. Build scripts
/// record it (ring's does), and half of the dependencies would be built again after a call without it.
pub fn forget_xtask(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
}

/// The folder of the workspace's `Cargo.toml`.
pub fn workspace_root() -> PathBuf {
    // `cargo run` gives the present place; the compiled-in one serves a binary started by hand.
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest
        .parent()
        .map_or_else(|| manifest.clone(), Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_runs_in_the_root_which_is_the_folder_above_xtask() {
        let root = workspace_root();
        assert!(root.join("xtask").join("Cargo.toml").is_file());
        assert!(root.join("Cargo.lock").is_file());
        assert_eq!(cargo(&["metadata"]).get_current_dir(), Some(&*root));
    }
}
