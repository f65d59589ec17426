//! Any bytes as the header of weights with groups.
#![no_main]

#[path = "../../crates/tritburn-formats/tests/suite/common/affine_readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| readers::affine_header(data));
