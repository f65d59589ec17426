//! Writing GGUF files.

use std::path::Path;

use super::ggml::id_of;
use super::value::Metadata;
use super::wire::ToWire;
use super::{
    ALIGNMENT_KEY, DEFAULT_ALIGNMENT, MAGIC, MAX_ALIGNMENT, MAX_DIMS, MAX_NAME, VERSION, Value,
    is_alignment,
};
use crate::file::output::Output;
use crate::file::{FileError, TensorSpec};

/// A GGUF file (version 3) being written. Its metadata and tensors are fixed at the start; their bytes
/// follow in any order, chunk by chunk, and only [`finish`](Self::finish) makes the file appear.
///
/// # Examples
///
/// ```
/// use tritburn_formats::file::gguf::{GgmlType, Metadata, Value};
/// use tritburn_formats::file::{DType, Gguf, GgufWriter, TensorSource, TensorSpec};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("model.gguf");
/// let mut metadata = Metadata::new();
/// metadata.set("general.architecture", Value::String("bitnet-b1.58".into()));
/// let tensors = [TensorSpec::new("blk.0.attn_q.weight", DType::Ggml(GgmlType::Tq2_0), [2, 256])];
/// let mut writer = GgufWriter::create(&path, &metadata, &tensors)?;
/// writer.write("blk.0.attn_q.weight", &[0x55; 2 * 66])?;
/// writer.finish()?;
///
/// let file = Gguf::open(&path)?;
/// assert_eq!(file.metadata().architecture(), "bitnet-b1.58");
/// assert_eq!(file.require("blk.0.attn_q.weight")?.byte_len, 132);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct GgufWriter {
    output: Output,
}

impl GgufWriter {
    /// Starts a file of `tensors`, stored in this order, aligned to `general.alignment` of the
    /// metadata or to 32 bytes.
    ///
    /// # Errors
    /// [`FileError::UnknownType`] for types that GGUF lacks, [`FileError::Shape`] for more than 4
    /// extents or broken blocks, [`FileError::Limit`] for names above 63 bytes,
    /// [`FileError::Duplicate`], [`FileError::Io`].
    pub fn create(
        path: impl AsRef<Path>,
        metadata: &Metadata,
        tensors: &[TensorSpec],
    ) -> Result<Self, FileError> {
        let path = path.as_ref();
        let alignment = match metadata.get(ALIGNMENT_KEY) {
            None => DEFAULT_ALIGNMENT,
            Some(Value::U32(bytes)) if is_alignment((*bytes).into()) => (*bytes).into(),
            Some(other) => {
                let reason = format!(
                    "{ALIGNMENT_KEY} must be a u32, a power of two up to {MAX_ALIGNMENT}, not {other:.40?}"
                );
                return Err(FileError::header(path, 0, reason));
            }
        };
        let mut header = MAGIC.to_vec();
        VERSION.write(&mut header);
        (tensors.len() as u64).write(&mut header);
        (metadata.iter().len() as u64).write(&mut header);
        for (key, value) in metadata.iter() {
            key.to_string().write(&mut header);
            value.write(&mut header);
        }
        let mut regions = Vec::new();
        let mut end = 0u64;
        for tensor in tensors {
            let (id, len) = size(path, tensor)?;
            tensor.name.write(&mut header);
            (tensor.shape.len() as u32).write(&mut header);
            tensor
                .shape
                .iter()
                .rev()
                .for_each(|&extent| (extent as u64).write(&mut header));
            id.write(&mut header);
            end.write(&mut header);
            regions.push((tensor.name.clone(), end, len));
            end = len
                .checked_next_multiple_of(alignment)
                .and_then(|len| end.checked_add(len))
                .ok_or_else(|| tensor.shape_error(path))?;
        }
        let data = (header.len() as u64).next_multiple_of(alignment);
        let regions = regions
            .into_iter()
            .map(|(name, offset, len)| (name, data + offset, len));
        let output = Output::create(path, &header, regions, data + end)?;
        Ok(Self { output })
    }

    /// Appends `bytes` to tensor `name`. Every call is a write to the file: collect small pieces.
    ///
    /// # Errors
    /// [`FileError::NotFound`], [`FileError::Written`] beyond the declared length,
    /// [`FileError::Io`].
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), FileError> {
        self.output.write(name, bytes)
    }

    /// Gives the file its name, replacing an older one.
    ///
    /// # Errors
    /// [`FileError::Written`] if a tensor is incomplete; no file appears then. [`FileError::Io`].
    pub fn finish(self) -> Result<(), FileError> {
        self.output.finish()
    }
}

/// Type number and bytes of a tensor.
fn size(path: &Path, tensor: &TensorSpec) -> Result<(u32, u64), FileError> {
    let id = id_of(tensor.dtype).ok_or_else(|| tensor.type_error(path))?;
    if tensor.name.len() > MAX_NAME {
        let what = format!("the length of the tensor name {:?}", tensor.name);
        return Err(FileError::limit(
            path,
            what,
            tensor.name.len() as u64,
            MAX_NAME as u64,
        ));
    }
    if tensor.shape.len() > MAX_DIMS {
        return Err(tensor.shape_error(path));
    }
    Ok((id, tensor.byte_len(path)? as u64))
}
