//! Any bytes as blocks of a GGUF type, to floats.
#![no_main]

#[path = "../../crates/tritburn-formats/tests/suite/common/readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| readers::blocks(data));
