//! The header of one GGUF file: its metadata, and where its tensors lie.

use std::path::Path;

use super::ggml::dtype_of;
use super::types::{self, TypeProblem};
use super::value::Metadata;
use super::wire::HeaderReader;
use super::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, MAGIC, MAX_ALIGNMENT, MAX_DIMS, is_alignment};
use crate::file::input::ReadAt;
use crate::file::{DType, FileError, TensorInfo};

/// A checked header.
pub(super) struct Header {
    pub version: u32,
    pub metadata: Metadata,
    /// In the order of their data.
    pub tensors: Vec<TensorInfo>,
    /// Offset in the file of each tensor.
    pub offsets: Vec<u64>,
    /// Tensors whose type is not what its number says.
    pub problems: Vec<TypeProblem>,
}

/// A tensor as the file lists it.
pub(super) struct Listed {
    pub name: String,
    pub shape: Vec<u64>,
    pub dtype: DType,
    /// From the start of the data.
    pub offset: u64,
}

impl Listed {
    /// The shape in the integers of this machine, if it fits.
    pub fn extents(&self) -> Option<Vec<usize>> {
        let extents = self.shape.iter();
        extents
            .map(|&extent| usize::try_from(extent).ok())
            .collect()
    }
}

impl Header {
    /// `architecture` decides what type numbers mean where the file names none, as the second and
    /// later parts of a split model.
    pub fn read(path: &Path, input: &dyn ReadAt, architecture: &str) -> Result<Self, FileError> {
        let mut reader = HeaderReader::new(path, input);
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
        let architecture = match metadata.architecture() {
            "" => architecture,
            own => own,
        };
        // Name length, number of extents, type, offset.
        let tensor_count = reader.check_count(tensor_count, 24, "the list of tensors")?;
        let mut listed = Vec::new();
        for _ in 0..tensor_count {
            listed.push(read_listed(&mut reader, architecture)?);
        }
        // The data of a file without tensors may be missing, alignment included.
        let data = reader.offset().next_multiple_of(alignment);
        listed.sort_by_key(|tensor| tensor.offset);
        let problems = types::settle(&mut listed, input.size().saturating_sub(data));
        let (tensors, offsets) = locate(path, listed, data, alignment, input.size())?;
        Ok(Self {
            version,
            metadata,
            tensors,
            offsets,
            problems,
        })
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
    for (index, listed) in listed.into_iter().enumerate() {
        let extents = listed.extents();
        let Listed {
            name,
            shape,
            dtype,
            offset,
        } = listed;
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
        let sized = extents.and_then(|shape| {
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
