//! The safetensors container.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use burn::tensor::{BoolStore, DType, TensorData};
use burn_pack::AtomicFile;
use safetensors::tensor::Metadata;
use safetensors::{Dtype, View};

use super::error::StoreError;
use super::file::{FORMAT_KEY, Tensors, check_format, format_value};

pub(super) fn write(path: &Path, tensors: Tensors) -> Result<(), StoreError> {
    let failed = |reason: String| StoreError::Write {
        path: path.into(),
        reason,
    };
    let views = tensors
        .iter()
        .map(|(name, data)| match to_safetensors(data.dtype()) {
            Some(dtype) => Ok((name, Borrowed { data, dtype })),
            None => Err(failed(format!(
                "`{name}`: safetensors has no {:?}",
                data.dtype()
            ))),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let metadata = HashMap::from([(FORMAT_KEY.to_string(), format_value())]);
    let (scratch, file) = AtomicFile::create(path).map_err(|error| failed(error.to_string()))?;
    drop(file);
    safetensors::serialize_to_file(views, Some(metadata), scratch.path())
        .map_err(|error| failed(error.to_string()))?;
    scratch.commit().map_err(|error| failed(error.to_string()))
}

pub(super) fn read(path: &Path) -> Result<Tensors, StoreError> {
    let damaged = |reason: String| StoreError::Damaged {
        path: path.into(),
        reason,
    };
    let bytes = std::fs::read(path).map_err(|source| StoreError::Open {
        path: path.into(),
        source,
    })?;
    let (header_size, metadata) = read_header(&bytes).map_err(damaged)?;
    let user = metadata.metadata().as_ref();
    check_format(path, user.and_then(|user| user.get(FORMAT_KEY)))?;

    // The 8-byte length ahead of the header counts too.
    let start = 8 + header_size;
    let mut tensors = Tensors::new();
    for tensor in metadata.offset_keys() {
        let Some(info) = metadata.info(&tensor) else {
            continue;
        };
        let (begin, end) = info.data_offsets;
        let (Some(begin), Some(end)) = (start.checked_add(begin), start.checked_add(end)) else {
            return Err(damaged(format!("`{tensor}` ends past every file")));
        };
        let Some(data) = bytes.get(begin..end) else {
            let (expected, found) = (end as u64, bytes.len() as u64);
            return Err(StoreError::Truncated {
                path: path.into(),
                tensor,
                expected,
                found,
            });
        };
        let dtype = from_safetensors(info.dtype)
            .ok_or_else(|| damaged(format!("`{tensor}` has the element type {:?}", info.dtype)))?;
        let data = TensorData::from_bytes_vec(data.to_vec(), info.shape.clone(), dtype);
        tensors.insert(tensor, data);
    }
    Ok(tensors)
}

/// Length and content of the header. Not `SafeTensors::read_metadata`, which refuses a file that
/// ends inside a tensor without saying which.
fn read_header(bytes: &[u8]) -> Result<(usize, Metadata), String> {
    let (length, rest) = bytes
        .split_first_chunk::<8>()
        .ok_or_else(|| format!("{} bytes, too short for a header", bytes.len()))?;
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length)
        .ok()
        .and_then(|length| rest.get(..length))
        .ok_or_else(|| format!("header of {length} bytes, {} follow", rest.len()))?;
    let metadata = serde_json::from_slice(header).map_err(|error| error.to_string())?;
    Ok((header.len(), metadata))
}

struct Borrowed<'a> {
    data: &'a TensorData,
    dtype: Dtype,
}

impl View for Borrowed<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        self.data.shape()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.data.as_bytes())
    }

    fn data_len(&self) -> usize {
        self.data.as_bytes().len()
    }
}

const TYPES: [(DType, Dtype); 13] = [
    (DType::F64, Dtype::F64),
    (DType::F32, Dtype::F32),
    (DType::F16, Dtype::F16),
    (DType::BF16, Dtype::BF16),
    (DType::I64, Dtype::I64),
    (DType::I32, Dtype::I32),
    (DType::I16, Dtype::I16),
    (DType::I8, Dtype::I8),
    (DType::U64, Dtype::U64),
    (DType::U32, Dtype::U32),
    (DType::U16, Dtype::U16),
    (DType::U8, Dtype::U8),
    (DType::Bool(BoolStore::Native), Dtype::BOOL),
];

fn to_safetensors(dtype: DType) -> Option<Dtype> {
    TYPES
        .iter()
        .find(|(burn, _)| *burn == dtype)
        .map(|&(_, safe)| safe)
}

fn from_safetensors(dtype: Dtype) -> Option<DType> {
    TYPES
        .iter()
        .find(|(_, safe)| *safe == dtype)
        .map(|&(burn, _)| burn)
}
