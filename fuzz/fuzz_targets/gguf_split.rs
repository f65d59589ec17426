//! Any bytes as the two parts of a split GGUF model.
#![no_main]

mod folder;
#[path = "../../crates/tritburn-formats/tests/suite/common/readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| readers::gguf_split(data, folder::path()));
