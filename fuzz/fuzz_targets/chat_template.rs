//! Any text as a chat template, and what is said.
#![no_main]

#[path = "../../crates/tritburn-models/tests/suite/readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| readers::chat_template(data));
