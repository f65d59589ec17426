//! Any bytes as the tensors of an AWQ layer.
#![no_main]

#[path = "../../crates/tritburn-formats/tests/suite/common/affine_readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| readers::awq(data));
