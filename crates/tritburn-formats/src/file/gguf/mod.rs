//! GGUF files, versions 2 and 3, little-endian.
//!
//! Layout (ggml's `docs/gguf.md`): magic, version, number of tensors, number of metadata entries, the
//! entries, the list of tensors (name, extents from the innermost out, type, offset), then the data,
//! everything aligned to `general.alignment`.

mod ggml;
mod header;
mod read;
mod split;
mod types;
mod value;
mod wire;
mod write;

pub use ggml::GgmlType;
pub use read::Gguf;
pub use types::TypeProblem;
pub use value::{Array, Metadata, Value};
pub use write::GgufWriter;

const MAGIC: [u8; 4] = *b"GGUF";
const VERSION: u32 = 3;

/// Alignment of data where the metadata names none.
const DEFAULT_ALIGNMENT: u64 = 32;

/// Largest alignment: a huge page. Padding to more would let a small file make a big one.
const MAX_ALIGNMENT: u64 = 2 << 20;

fn is_alignment(bytes: u64) -> bool {
    bytes.is_power_of_two() && bytes <= MAX_ALIGNMENT
}

const ALIGNMENT_KEY: &str = "general.alignment";

/// Most extents a tensor has in ggml.
const MAX_DIMS: usize = 4;

/// Longest tensor name that ggml takes; longer ones are read, not written.
const MAX_NAME: usize = 63;
