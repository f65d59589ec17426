//! A place for the files of targets that read from disk.

use std::path::Path;
use std::sync::LazyLock;

use tempfile::{Builder, TempDir};

/// In memory, where the system has such folders.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = Builder::new()
        .tempdir_in("/dev/shm")
        .or_else(|_| TempDir::new());
    folder.expect("a temporary folder")
});

/// The folder, the same for every input of a run.
pub fn path() -> &'static Path {
    FOLDER.path()
}
