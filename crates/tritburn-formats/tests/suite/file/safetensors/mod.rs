//! Safetensors files: ours against the reference crate's, shards, and files that lie.

mod alias;
mod header;
mod reader;
mod shards;
mod writer;

use tritburn_formats::file::{DType, FileError, Safetensors, TensorSpec};

pub fn specs() -> Vec<TensorSpec> {
    vec![
        TensorSpec::new("odd", DType::U8, [3, 5]),
        TensorSpec::new("a.weight", DType::F32, [2, 3]),
        TensorSpec::new("scalar", DType::BF16, []),
        TensorSpec::new("empty", DType::I64, [0, 7]),
        TensorSpec::new("é\"\\", DType::Bool, [1]),
    ]
}

/// A file of this header and `data` zero bytes.
pub fn file(header: &str, data: usize) -> Vec<u8> {
    let len = (header.len() as u64).to_le_bytes();
    [&len[..], header.as_bytes(), &vec![0; data]].concat()
}

pub fn open(bytes: Vec<u8>) -> Result<Safetensors, FileError> {
    Safetensors::from_bytes("x", bytes)
}

pub fn refuse(header: &str, data: usize) -> FileError {
    match open(file(header, data)) {
        Ok(_) => panic!("accepted: {header}"),
        Err(error) => error,
    }
}
