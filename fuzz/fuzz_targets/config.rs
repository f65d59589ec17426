//! Any text as a `config.json`.
#![no_main]

#[path = "../../crates/tritburn-models/tests/suite/readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| readers::config(data));
