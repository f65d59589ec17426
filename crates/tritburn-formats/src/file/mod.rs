//! Model files: safetensors, GGUF and torch checkpoints, read and written tensor by tensor.
//!
//! | module | what |
//! |---|---|
//! | [`safetensors`] | one file, or shards with an index |
//! | [`gguf`] | GGUF with its metadata and block types |
//! | [`torch`] | zip checkpoints of torch, without executing their pickle |
//!
//! All readers are a [`TensorSource`]. They take files from anyone: whatever a file claims is checked
//! against the file before memory is taken for it, and ends in a [`FileError`] that says where. All
//! writers are told of every tensor first and take its bytes in chunks, so that a model need not fit
//! into memory; a file appears under its name only when it is complete.

mod dtype;
mod error;
pub mod gguf;
mod input;
mod open;
mod output;
pub mod safetensors;
mod source;
mod spec;
pub mod torch;

pub use dtype::DType;
pub use error::FileError;
pub use gguf::{Gguf, GgufWriter};
pub use open::{FileKind, open};
pub use safetensors::{Safetensors, SafetensorsWriter};
pub use source::{TensorInfo, TensorSource};
pub use spec::TensorSpec;
pub use torch::{TorchCheckpoint, TorchWriter};
