//! Any bytes as a `tokenizer.model`.
#![no_main]

mod folder;
#[path = "../../crates/tritburn-models/tests/suite/readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| readers::sentencepiece(data, folder::path()));
