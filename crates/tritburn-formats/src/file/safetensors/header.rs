//! The JSON header of a safetensors file.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::{MAX_HEADER, METADATA};
use crate::file::input::{ReadAt, read_at};
use crate::file::{DType, FileError, TensorInfo};

/// Bytes of the header's length.
pub(super) const PREFIX: u64 = 8;

/// A checked header: every tensor has its bytes, and every byte its tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Free text under `__metadata__`.
    pub metadata: BTreeMap<String, String>,
    /// The tensors, in the order of their data.
    pub tensors: Vec<TensorInfo>,
    /// Offset in the file of each tensor.
    pub offsets: Vec<u64>,
}

#[derive(serde::Deserialize)]
struct RawTensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The header as it stands in the file. Names that occur twice are kept twice.
struct RawHeader {
    metadata: Pairs<String>,
    tensors: Vec<(String, RawTensor)>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let (mut metadata, mut tensors) = (None, Vec::new());
                while let Some(name) = map.next_key::<String>()? {
                    if name != METADATA {
                        tensors.push((name, map.next_value()?));
                    } else if metadata.replace(map.next_value()?).is_some() {
                        return Err(A::Error::duplicate_field(METADATA));
                    }
                }
                Ok(RawHeader {
                    metadata: metadata.unwrap_or(Pairs(Vec::new())),
                    tensors,
                })
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// A JSON object whose keys may occur twice.
pub(super) struct Pairs<T>(pub Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Pairs<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<T>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Entries(std::marker::PhantomData))
    }
}

impl<T> Pairs<T> {
    pub fn unique(self, path: &Path, what: &'static str) -> Result<BTreeMap<String, T>, FileError> {
        let mut map = BTreeMap::new();
        for (name, value) in self.0 {
            if map.contains_key(&name) {
                return Err(duplicate(path, what, name));
            }
            map.insert(name, value);
        }
        Ok(map)
    }
}

pub(super) fn duplicate(path: &Path, what: &'static str, name: String) -> FileError {
    FileError::Duplicate {
        path: path.to_path_buf(),
        what,
        name,
    }
}

/// Parses JSON, telling where in the file it is wrong.
pub(super) fn parse_json<T: for<'a> Deserialize<'a>>(
    path: &Path,
    start: u64,
    text: &[u8],
) -> Result<T, FileError> {
    serde_json::from_slice(text).map_err(|e| {
        // serde_json counts lines and columns from one; a syntax error has both.
        let mut lines = text.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::len);
        let before: usize = lines.by_ref().take(e.line().saturating_sub(1)).sum();
        let offset = start + (before + e.column().saturating_sub(1)) as u64;
        FileError::header(path, offset, e.to_string())
    })
}

impl Header {
    pub(super) fn read(path: &Path, input: &dyn ReadAt) -> Result<Self, FileError> {
        let mut prefix = [0; PREFIX as usize];
        read_at(path, input, 0, &mut prefix, "the length of the header")?;
        let len = u64::from_le_bytes(prefix);
        if len > MAX_HEADER {
            return Err(FileError::limit(
                path,
                "the size of the header",
                len,
                MAX_HEADER,
            ));
        }
        let left = input.size() - PREFIX;
        if len > left {
            return Err(FileError::Truncated {
                path: path.to_path_buf(),
                what: "the header".to_string(),
                offset: PREFIX,
                expected: len,
                found: left,
            });
        }
        let mut text = vec![0; len as usize];
        read_at(path, input, PREFIX, &mut text, "the header")?;
        let raw: RawHeader = parse_json(path, PREFIX, &text)?;
        let (tensors, offsets) = locate(path, raw.tensors, PREFIX + len, input.size())?;
        Ok(Self {
            metadata: raw.metadata.unique(path, "metadata key")?,
            tensors,
            offsets,
        })
    }
}

/// Checks that the tensors fill the data from `data` to `file_len`, and puts them in order.
fn locate(
    path: &Path,
    mut raw: Vec<(String, RawTensor)>,
    data: u64,
    file_len: u64,
) -> Result<(Vec<TensorInfo>, Vec<u64>), FileError> {
    let data_len = file_len - data;
    raw.sort_by_key(|(_, tensor)| tensor.data_offsets);
    let mut seen = HashSet::new();
    let (mut tensors, mut offsets) = (Vec::new(), Vec::new());
    let mut free = 0;
    for (
        name,
        RawTensor {
            dtype,
            shape,
            data_offsets: (start, end),
        },
    ) in raw
    {
        if !seen.insert(name.clone()) {
            return Err(duplicate(path, "tensor", name));
        }
        let Some(dtype) = DType::from_safetensors_name(&dtype) else {
            return Err(FileError::UnknownType {
                path: path.to_path_buf(),
                tensor: name,
                found: dtype,
            });
        };
        if start != free || end < start {
            return Err(FileError::Offset {
                path: path.to_path_buf(),
                tensor: name,
                found: data.saturating_add(if end < start { end } else { start }),
                expected: data + free,
            });
        }
        if end > data_len {
            return Err(FileError::Truncated {
                path: path.to_path_buf(),
                what: format!("tensor {name:?}"),
                offset: data + start,
                expected: end - start,
                found: data_len - start,
            });
        }
        let extents = shape
            .iter()
            .map(|&n| usize::try_from(n).ok())
            .collect::<Option<Vec<_>>>();
        let sized = extents.and_then(|shape| dtype.byte_len(&shape).map(|len| (shape, len)));
        let Some((shape, byte_len)) = sized else {
            return Err(FileError::Shape {
                path: path.to_path_buf(),
                tensor: name,
                dtype,
                shape,
            });
        };
        if byte_len as u64 != end - start {
            return Err(FileError::ByteLen {
                path: path.to_path_buf(),
                tensor: name,
                dtype,
                shape,
                expected: byte_len as u64,
                found: end - start,
            });
        }
        free = end;
        offsets.push(data + start);
        tensors.push(TensorInfo {
            name,
            dtype,
            shape,
            byte_len,
        });
    }
    if free != data_len {
        return Err(FileError::Trailing {
            path: path.to_path_buf(),
            expected: data + free,
            found: file_len,
        });
    }
    Ok((tensors, offsets))
}
