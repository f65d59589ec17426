//! Any bytes as the tensors of a GPTQ layer.
#![no_main]

#[path = "../../crates/tritburn-formats/tests/suite/common/affine_readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| readers::gptq(data));
