//! safetensors files: one, or the shards that an index names.
//!
//! Layout: the length of the header (u64), the header (JSON: name to dtype, shape and data offsets),
//! then the data without gaps. The `safetensors` crate validates a header only together with all of
//! the file's bytes, takes the last of two tensors of one name, and does not say where a header is
//! wrong; so the header is read here.

mod header;
mod index;
mod read;
mod write;

pub use index::ShardIndex;
pub use read::Safetensors;
pub use write::SafetensorsWriter;

/// A model in one file, in a folder.
const SINGLE_FILE: &str = "model.safetensors";

/// The index of a model in several files.
const INDEX_FILE: &str = "model.safetensors.index.json";

/// Largest header, as the reference implementation has it.
const MAX_HEADER: u64 = 100_000_000;

/// The name in a header that is no tensor.
const METADATA: &str = "__metadata__";
