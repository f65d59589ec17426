//! Any bytes as the configuration and the tensors of a model's folder.
#![no_main]

mod folder;
#[path = "../../crates/tritburn-models/tests/suite/readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| readers::model_folder(data, folder::path()));
