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
//!
//! # Examples
//!
//! ```
//! use std::collections::BTreeMap;
//! use tritburn_formats::file::{DType, SafetensorsWriter, TensorSpec, open};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("model.safetensors");
//! let tensors = [TensorSpec::new("norm.weight", DType::F32, [2])];
//! let mut writer = SafetensorsWriter::create(&path, &BTreeMap::new(), &tensors)?;
//! writer.write("norm.weight", &1.0_f32.to_le_bytes())?; // piece by piece
//! writer.write("norm.weight", &2.0_f32.to_le_bytes())?;
//! assert!(!path.exists());
//! writer.finish()?; // now the file is there, complete
//!
//! let file = open(&path)?; // GGUF and torch checkpoints alike
//! assert_eq!(file.tensors()[0].shape, [2]);
//! assert_eq!(file.read_range("norm.weight", 4..8)?, 2.0_f32.to_le_bytes());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod dtype;
mod error;
mod escape;
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
pub use escape::escaped;
pub use gguf::{Gguf, GgufWriter};
pub use input::is_lfs_pointer;
pub use open::{FileKind, open};
pub use safetensors::{Safetensors, SafetensorsWriter};
pub use source::{TensorInfo, TensorSource};
pub use spec::TensorSpec;
pub use torch::{TorchCheckpoint, TorchWriter};
