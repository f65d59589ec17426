//! Writing safetensors files.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::header::{PREFIX, duplicate};
use super::{INDEX_FILE, MAX_HEADER, METADATA, SINGLE_FILE};
use crate::file::output::{Output, persist, temporary};
use crate::file::{FileError, TensorSpec};

/// A model in one or several safetensors files being written. Its tensors are fixed at the start;
/// their bytes follow in any order, chunk by chunk, and only [`finish`](Self::finish) makes the files
/// appear.
///
/// # Examples
///
/// ```
/// use std::collections::BTreeMap;
/// use tritburn_formats::file::{DType, Safetensors, SafetensorsWriter, TensorSource, TensorSpec};
///
/// // Two tensors of 8 bytes in shards of at most 10: two files and an index.
/// let folder = tempfile::tempdir()?;
/// let tensors = ["a", "b"].map(|name| TensorSpec::new(name, DType::F32, [2]));
/// let mut writer = SafetensorsWriter::create_sharded(&folder, &BTreeMap::new(), &tensors, 10)?;
/// writer.write("b", &[2; 8])?; // in any order
/// writer.write("a", &[1; 8])?;
/// writer.finish()?;
///
/// let model = Safetensors::open(&folder)?;
/// assert_eq!(model.files().len(), 2);
/// assert_eq!(model.read("b")?, [2; 8]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SafetensorsWriter {
    shards: Vec<Output>,
    /// Shard of each tensor.
    by_name: HashMap<String, usize>,
    /// Path and text of the index, if there are several shards.
    index: Option<(PathBuf, String)>,
    path: PathBuf,
}

impl SafetensorsWriter {
    /// Starts one file of `tensors`, stored in this order.
    ///
    /// # Errors
    /// [`FileError::UnknownType`] for types that safetensors lacks, [`FileError::Shape`],
    /// [`FileError::Duplicate`], [`FileError::Limit`] of the header, [`FileError::Io`].
    pub fn create(
        path: impl AsRef<Path>,
        metadata: &BTreeMap<String, String>,
        tensors: &[TensorSpec],
    ) -> Result<Self, FileError> {
        let path = path.as_ref();
        let by_name = names(path, tensors, |_| 0)?;
        Ok(Self {
            shards: vec![shard(path, metadata, tensors)?],
            by_name,
            index: None,
            path: path.to_path_buf(),
        })
    }

    /// Starts a model in `folder`: `model.safetensors` if its data has at most `max_shard_bytes`,
    /// else `model-00001-of-00002.safetensors` and so on, with an index. Shards are filled in the
    /// order of `tensors`; one tensor above the limit has a shard of its own.
    ///
    /// # Errors
    /// As [`create`](Self::create); [`FileError::Exists`] if the folder holds a model of the other
    /// kind (one file or several), which readers could take instead.
    pub fn create_sharded(
        folder: impl AsRef<Path>,
        metadata: &BTreeMap<String, String>,
        tensors: &[TensorSpec],
        max_shard_bytes: u64,
    ) -> Result<Self, FileError> {
        let folder = folder.as_ref();
        let (mut starts, mut filled, mut total) = (vec![0], 0u64, 0u64);
        for (i, tensor) in tensors.iter().enumerate() {
            let len = tensor.byte_len(folder)? as u64;
            if filled > 0 && filled.saturating_add(len) > max_shard_bytes {
                starts.push(i);
                filled = 0;
            }
            filled = filled.saturating_add(len);
            total = total.saturating_add(len);
        }
        let count = starts.len();
        let other = folder.join(if count == 1 { INDEX_FILE } else { SINGLE_FILE });
        if other.exists() {
            return Err(FileError::Exists { path: other });
        }
        if count == 1 {
            return Self::create(folder.join(SINGLE_FILE), metadata, tensors);
        }
        let by_name = names(folder, tensors, |i| {
            starts.partition_point(|&start| start <= i) - 1
        })?;
        let file = |shard: usize| format!("model-{:05}-of-{count:05}.safetensors", shard + 1);
        let weight_map: BTreeMap<&str, String> = by_name
            .iter()
            .map(|(name, &shard)| (name.as_str(), file(shard)))
            .collect();
        let index = serde_json::json!({
            "metadata": { "total_size": total },
            "weight_map": weight_map,
        });
        let mut shards = Vec::new();
        for (number, &start) in starts.iter().enumerate() {
            let end = starts.get(number + 1).copied().unwrap_or(tensors.len());
            shards.push(shard(
                &folder.join(file(number)),
                metadata,
                &tensors[start..end],
            )?);
        }
        Ok(Self {
            shards,
            by_name,
            index: Some((folder.join(INDEX_FILE), format!("{index:#}\n"))),
            path: folder.to_path_buf(),
        })
    }

    /// Appends `bytes` to tensor `name`. Every call is a write to the file: collect small pieces.
    ///
    /// # Errors
    /// [`FileError::NotFound`], [`FileError::Written`] beyond the declared length,
    /// [`FileError::Io`].
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), FileError> {
        let shard = self.by_name.get(name).ok_or_else(|| FileError::NotFound {
            path: self.path.clone(),
            tensor: name.to_string(),
        })?;
        self.shards[*shard].write(name, bytes)
    }

    /// Gives the files their names, replacing older ones; the index comes last.
    ///
    /// # Errors
    /// [`FileError::Written`] if a tensor is incomplete; no file appears then. [`FileError::Io`].
    pub fn finish(self) -> Result<(), FileError> {
        for shard in &self.shards {
            shard.check()?;
        }
        for shard in self.shards {
            shard.finish()?;
        }
        if let Some((path, text)) = self.index {
            let mut file = temporary(&path)?;
            file.write_all(text.as_bytes())
                .map_err(FileError::io(&path))?;
            persist(file, &path)?;
        }
        Ok(())
    }
}

fn names(
    path: &Path,
    tensors: &[TensorSpec],
    shard: impl Fn(usize) -> usize,
) -> Result<HashMap<String, usize>, FileError> {
    let mut by_name = HashMap::new();
    for (i, tensor) in tensors.iter().enumerate() {
        if by_name.insert(tensor.name.clone(), shard(i)).is_some() {
            return Err(duplicate(path, "tensor", tensor.name.clone()));
        }
    }
    Ok(by_name)
}

/// Starts one file.
fn shard(
    path: &Path,
    metadata: &BTreeMap<String, String>,
    tensors: &[TensorSpec],
) -> Result<Output, FileError> {
    let mut header = serde_json::Map::new();
    if !metadata.is_empty() {
        header.insert(METADATA.to_string(), serde_json::json!(metadata));
    }
    let mut regions = Vec::new();
    let mut end = 0u64;
    for tensor in tensors {
        if tensor.name == METADATA {
            return Err(duplicate(path, "tensor or metadata", tensor.name.clone()));
        }
        let dtype = tensor.dtype.safetensors_name();
        let dtype = dtype.ok_or_else(|| tensor.type_error(path))?;
        let len = tensor.byte_len(path)? as u64;
        let start = end;
        end = end
            .checked_add(len)
            .ok_or_else(|| tensor.shape_error(path))?;
        let entry = serde_json::json!({
            "dtype": dtype,
            "shape": tensor.shape,
            "data_offsets": [start, end],
        });
        header.insert(tensor.name.clone(), entry);
        regions.push((tensor.name.clone(), start, len));
    }
    let mut text = serde_json::Value::Object(header).to_string().into_bytes();
    // The data is aligned as the reference implementation aligns it.
    text.resize(text.len().next_multiple_of(8), b' ');
    let len = text.len() as u64;
    if len > MAX_HEADER {
        return Err(FileError::limit(
            path,
            "the size of the header",
            len,
            MAX_HEADER,
        ));
    }
    let data = PREFIX + len;
    let header = [&len.to_le_bytes()[..], &text].concat();
    let regions = regions
        .into_iter()
        .map(|(name, offset, len)| (name, data + offset, len));
    Output::create(path, &header, regions, data + end)
}
