//! Reading GGUF files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::ggml::dtype_of;
use super::value::{Metadata, duplicate};
use super::wire::HeaderReader;
use super::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, MAGIC, MAX_ALIGNMENT, MAX_DIMS, is_alignment};
use crate::file::input::{OpenFile, ReadAt, read_at};
use crate::file::source::{buffer_range, require_range};
use crate::file::{DType, FileError, TensorInfo, TensorSource};

/// An open GGUF file. Its header is in memory, its tensors are not.
///
/// # Examples
///
/// ```
/// use tritburn_formats::file::{FileError, Gguf, TensorSource};
///
/// // Version 3, no tensors, no metadata.
/// let bytes = [&b"GGUF"[..], &3_u32.to_le_bytes(), &[0; 16]].concat();
/// let file = Gguf::from_bytes("example", bytes)?; // `open` for a file
/// assert_eq!(file.version(), 3);
/// assert!(file.tensors().is_empty() && file.metadata().get("general.name").is_none());
///
/// let other = Gguf::from_bytes("example", b"GGML".to_vec());
/// assert!(matches!(other, Err(FileError::Magic { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Gguf {
    path: PathBuf,
    input: Box<dyn ReadAt>,
    version: u32,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    /// Offset in the file of each tensor.
    offsets: Vec<u64>,
    by_name: HashMap<String, usize>,
}

/// A tensor as the file lists it.
struct Listed {
    name: String,
    shape: Vec<u64>,
    dtype: DType,
    offset: u64,
}

impl Gguf {
    /// Opens the file and reads its header.
    ///
    /// # Errors
    /// [`FileError`] for anything but a complete, consistent header whose tensors lie in the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let path = path.as_ref();
        Self::from_input(path, Box::new(OpenFile::open(path)?))
    }

    /// Reads the header of a file in memory; `name` stands for its path in errors.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(name: impl AsRef<Path>, bytes: Vec<u8>) -> Result<Self, FileError> {
        Self::from_input(name.as_ref(), Box::new(bytes))
    }

    fn from_input(path: &Path, input: Box<dyn ReadAt>) -> Result<Self, FileError> {
        let mut reader = HeaderReader::new(path, input.as_ref());
        let mut magic = [0; 4];
        for byte in &mut magic {
            *byte = reader.take("the magic number")?;
        }
        if magic != MAGIC {
            return Err(FileError::Magic {
                path: path.to_path_buf(),
                expected: "GGUF",
                found: magic.to_vec(),
            });
        }
        let version = reader.take("the version")?;
        if !(2..=3).contains(&version) {
            return Err(FileError::Version {
                path: path.to_path_buf(),
                found: version,
                supported: "GGUF 2 and 3, little-endian",
            });
        }
        let tensor_count: u64 = reader.take("the number of tensors")?;
        let entry_count = reader.take("the number of metadata entries")?;
        let metadata = Metadata::read(&mut reader, entry_count)?;
        let alignment = alignment(path, &metadata)?;
        // Name length, number of extents, type, offset.
        let tensor_count = reader.check_count(tensor_count, 24, "the list of tensors")?;
        let mut listed = Vec::new();
        for _ in 0..tensor_count {
            listed.push(read_listed(&mut reader, metadata.architecture())?);
        }
        // The data of a file without tensors may be missing, alignment included.
        let data = reader.offset().next_multiple_of(alignment);
        listed.sort_by_key(|tensor| tensor.offset);
        let (tensors, offsets) = locate(path, listed, data, alignment, input.size())?;
        let mut by_name = HashMap::new();
        for (index, tensor) in tensors.iter().enumerate() {
            if by_name.insert(tensor.name.clone(), index).is_some() {
                return Err(duplicate(path, "tensor", tensor.name.clone()));
            }
        }
        Ok(Self {
            path: path.to_path_buf(),
            version,
            metadata,
            tensors,
            offsets,
            by_name,
            input,
        })
    }

    /// Version of the file: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Its metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

fn alignment(path: &Path, metadata: &Metadata) -> Result<u64, FileError> {
    let Some(value) = metadata.get(ALIGNMENT_KEY) else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    match value.as_u64() {
        Some(bytes) if is_alignment(bytes) => Ok(bytes),
        _ => {
            let reason = format!(
                "{ALIGNMENT_KEY} is {value:.40?}, not a power of two up to {MAX_ALIGNMENT}"
            );
            Err(FileError::header(path, 0, reason))
        }
    }
}

fn read_listed(reader: &mut HeaderReader, architecture: &str) -> Result<Listed, FileError> {
    let name: String = reader.take("a tensor name")?;
    let offset = reader.offset();
    let dims: u32 = reader.take(&name)?;
    if dims as usize > MAX_DIMS {
        let what = format!("the number of extents of tensor {name:?} at offset {offset}");
        return Err(FileError::limit(
            reader.path(),
            what,
            dims.into(),
            MAX_DIMS as u64,
        ));
    }
    let mut shape: Vec<u64> = reader.take_many(dims.into(), &name)?;
    shape.reverse();
    let dtype = dtype_of(reader.take(&name)?, architecture);
    let offset = reader.take(&name)?;
    Ok(Listed {
        name,
        shape,
        dtype,
        offset,
    })
}

/// Checks that tensors lie in the file, one behind the other. Input and output are in the order of
/// their offsets.
fn locate(
    path: &Path,
    listed: Vec<Listed>,
    data: u64,
    alignment: u64,
    file_len: u64,
) -> Result<(Vec<TensorInfo>, Vec<u64>), FileError> {
    let data_len = file_len.saturating_sub(data);
    let starts: Vec<u64> = listed.iter().map(|tensor| tensor.offset).collect();
    let mut tensors = Vec::new();
    let mut free = 0;
    for (
        index,
        Listed {
            name,
            shape,
            dtype,
            offset,
        },
    ) in listed.into_iter().enumerate()
    {
        if offset < free || !offset.is_multiple_of(alignment) {
            return Err(FileError::Offset {
                path: path.to_path_buf(),
                tensor: name,
                found: data.saturating_add(offset),
                expected: data + free.next_multiple_of(alignment),
            });
        }
        let next = starts.get(index + 1).copied().unwrap_or(data_len);
        let left = data_len.saturating_sub(offset);
        let known = !matches!(dtype, DType::Ggml(kind) if !kind.is_known());
        let shape_usize = shape
            .iter()
            .map(|&n| usize::try_from(n).ok())
            .collect::<Option<Vec<_>>>();
        let sized = shape_usize.and_then(|shape| {
            let byte_len = match known {
                true => dtype.byte_len(&shape)?,
                false => usize::try_from(next.saturating_sub(offset).min(left)).ok()?,
            };
            Some((shape, byte_len))
        });
        let Some((shape, byte_len)) = sized else {
            return Err(FileError::Shape {
                path: path.to_path_buf(),
                tensor: name,
                dtype,
                shape,
            });
        };
        if byte_len as u64 > left || offset > data_len {
            return Err(FileError::Truncated {
                path: path.to_path_buf(),
                what: format!("tensor {name:?}"),
                offset: data.saturating_add(offset),
                expected: byte_len as u64,
                found: left,
            });
        }
        free = offset + byte_len as u64;
        tensors.push(TensorInfo {
            name,
            dtype,
            shape,
            byte_len,
        });
    }
    // Every offset lies in the file, so no sum overflows.
    let offsets = starts.into_iter().map(|start| data + start).collect();
    Ok((tensors, offsets))
}

impl TensorSource for Gguf {
    fn path(&self) -> &Path {
        &self.path
    }

    fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name.get(name).map(|&index| &self.tensors[index])
    }

    fn read_into(&self, name: &str, start: usize, buffer: &mut [u8]) -> Result<(), FileError> {
        let info = require_range(self, name, &buffer_range(start, buffer))?;
        if let DType::Ggml(kind) = info.dtype
            && !kind.is_known()
        {
            return Err(FileError::UnknownType {
                path: self.path.clone(),
                tensor: name.to_string(),
                found: kind.to_string(),
            });
        }
        // The data of a file may end before the place of tensors without elements.
        if buffer.is_empty() {
            return Ok(());
        }
        let offset = self.offsets[self.by_name[name]] + start as u64;
        read_at(&self.path, self.input.as_ref(), offset, buffer, name)
    }
}
