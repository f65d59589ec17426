//! Any bytes as a torch checkpoint, or as its pickle.
#![no_main]

use std::sync::{LazyLock, Mutex};

use tempfile::{Builder, NamedTempFile};

#[path = "../../crates/tritburn-formats/tests/suite/common/readers.rs"]
mod readers;

/// In memory, where the system has such files.
static FILE: LazyLock<Mutex<NamedTempFile>> = LazyLock::new(|| {
    let file = Builder::new()
        .tempfile_in("/dev/shm")
        .or_else(|_| NamedTempFile::new());
    Mutex::new(file.expect("a temporary file"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| readers::torch(
    data,
    &mut FILE.lock().expect("one thread")
));
