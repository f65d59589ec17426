//! Any bytes as the index of a sharded model.
#![no_main]

#[path = "../../crates/tritburn-formats/tests/suite/common/readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| readers::shard_index(data));
