//! The burnpack container.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::TensorData;
use burn_pack::{HEADER_SIZE, Header, Reader, Tensor, Writer, aligned_data_section_start};

use super::error::StoreError;
use super::file::{FORMAT_KEY, Tensors, check_format, format_value};

pub(super) fn write(path: &Path, tensors: Tensors) -> Result<(), StoreError> {
    let tensors = tensors
        .into_iter()
        .map(|(name, data)| {
            let (bytes, shape, dtype) = data.into_parts();
            Tensor::new(name, dtype, shape, None, bytes)
        })
        .collect();
    Writer::new(tensors)
        .with_metadata(FORMAT_KEY, &format_value())
        .overwrite(true)
        .write_to_file(path)
        .map_err(|error| StoreError::Write {
            path: path.into(),
            reason: error.to_string(),
        })
}

pub(super) fn read(path: &Path) -> Result<Tensors, StoreError> {
    let damaged = |error: burn_pack::Error| StoreError::Damaged {
        path: path.into(),
        reason: error.to_string(),
    };
    // For an error with the operating system's own reason.
    std::fs::File::open(path).map_err(|source| StoreError::Open {
        path: path.into(),
        source,
    })?;
    let reader = Reader::from_file_exact(path)
        .map_err(|error| truncated(path).unwrap_or_else(|| damaged(error)))?;
    check_format(path, reader.metadata().get(FORMAT_KEY))?;
    let tensors = reader.into_tensors().map_err(damaged)?;
    tensors
        .into_iter()
        .map(|tensor| {
            let (name, dtype, shape, _, bytes) = tensor.into_parts().map_err(damaged)?;
            Ok((name, TensorData::from_bytes(bytes, shape, dtype)))
        })
        .collect()
}

/// The part of burnpack's metadata that says where tensors end. Its own reader does not name the
/// tensor that a file ends in.
#[derive(serde::Deserialize)]
struct Extents {
    tensors: BTreeMap<String, Extent>,
}

#[derive(serde::Deserialize)]
struct Extent {
    data_offsets: (u64, u64),
}

/// The error for a file whose header is whole and whose tensors are not.
fn truncated(path: &Path) -> Option<StoreError> {
    let bytes = std::fs::read(path).ok()?;
    let header = Header::from_bytes(bytes.get(..HEADER_SIZE)?).ok()?;
    let size = header.metadata_size as usize;
    let metadata = bytes.get(HEADER_SIZE..HEADER_SIZE.checked_add(size)?)?;
    let extents: Extents = ciborium::from_reader(metadata).ok()?;
    let start = aligned_data_section_start(size) as u64;
    let found = bytes.len() as u64;
    let mut ends: Vec<_> = extents
        .tensors
        .into_iter()
        .filter_map(|(tensor, extent)| Some((start.checked_add(extent.data_offsets.1)?, tensor)))
        .collect();
    ends.sort();
    let (expected, tensor) = ends.into_iter().find(|(end, _)| *end > found)?;
    Some(StoreError::Truncated {
        path: path.into(),
        tensor,
        expected,
        found,
    })
}
