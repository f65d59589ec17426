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
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// Largest header, as the reference implementation has it.
const MAX_HEADER: u64 = 100_000_000;

/// The name in a header that is no tensor.
const METADATA: &str = "__metadata__";

/// Whether a file of `file_len` bytes may be of this kind, by its first bytes: the header has room,
/// or at least starts as one. Files that end before it are for the reader to refuse.
pub(super) fn may_start(start: &[u8], file_len: u64) -> bool {
    let Some((prefix, rest)) = start.split_first_chunk() else {
        return true;
    };
    let has_room = u64::from_le_bytes(*prefix) <= (file_len - prefix.len() as u64).min(MAX_HEADER);
    has_room || rest.first().is_none_or(|&first| first == b'{')
}
