//! Any bytes as the header of packed weights.
#![no_main]

#[path = "../../crates/tritburn-formats/tests/suite/common/readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| readers::packed_header(data));
