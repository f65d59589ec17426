//! Any bytes as a GGUF file.
#![no_main]

#[path = "../../crates/tritburn-formats/tests/suite/common/readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| readers::gguf(data));
