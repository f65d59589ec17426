//! Any floats, or few values, as ternary weights.
#![no_main]

#[path = "../../crates/tritburn-formats/tests/suite/common/readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| readers::recognize(data));
