//! Any bytes as the configuration and the tensors of a model's folder.
#![no_main]

use std::sync::LazyLock;

use tempfile::{Builder, TempDir};

#[path = "../../crates/tritburn-models/tests/suite/readers.rs"]
mod readers;

/// In memory, where the system has such folders.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = Builder::new()
        .tempdir_in("/dev/shm")
        .or_else(|_| TempDir::new());
    folder.expect("a temporary folder")
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| readers::model_folder(data, FOLDER.path()));
