//! Any bytes as a model in a GGUF file.
#![no_main]

mod folder;
#[path = "../../crates/tritburn-models/tests/suite/readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| readers::gguf_model(data, folder::path()));
