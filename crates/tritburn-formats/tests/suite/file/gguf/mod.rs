//! GGUF files: written and read back, against the Python package's, and files that lie.

mod header;
mod integers;
mod round_trip;
mod split;
mod tensors;
mod types;
mod writer;

use tritburn_formats::file::{FileError, Gguf};

/// Written by the Python package (`data/README.md`).
pub const PYTHON: &[u8] = include_bytes!("../../../data/python.gguf");

pub fn open(bytes: &[u8]) -> Result<Gguf, FileError> {
    Gguf::from_bytes("x", bytes.to_vec())
}

pub fn refuse(bytes: &[u8]) -> FileError {
    match open(bytes) {
        Ok(_) => panic!("accepted"),
        Err(error) => error,
    }
}

/// A file, from its parts.
pub struct Raw(pub Vec<u8>);

impl Raw {
    pub fn new(version: u32, tensors: u64, entries: u64) -> Self {
        let mut raw = Self(b"GGUF".to_vec());
        raw.0.extend(version.to_le_bytes());
        raw.u64(tensors).u64(entries);
        raw
    }

    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub fn text(&mut self, text: &[u8]) -> &mut Self {
        self.u64(text.len() as u64).0.extend(text);
        self
    }

    pub fn architecture(&mut self, name: &str) -> &mut Self {
        self.text(b"general.architecture")
            .u32(8)
            .text(name.as_bytes())
    }

    pub fn tensor(&mut self, name: &str, dims: &[u64], kind: u32, offset: u64) -> &mut Self {
        self.text(name.as_bytes()).u32(dims.len() as u32);
        for &dim in dims {
            self.u64(dim);
        }
        self.u32(kind).u64(offset)
    }

    /// The file, with `len` bytes of data.
    pub fn data(&mut self, len: usize) -> Vec<u8> {
        let start = self.0.len().next_multiple_of(32);
        self.0.resize(start + len, 1);
        self.0.clone()
    }
}
