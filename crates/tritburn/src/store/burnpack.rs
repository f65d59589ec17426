//! The burnpack container.

use std::path::Path;

use burn::tensor::TensorData;
use burn_pack::{Reader, Tensor, Writer};

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
    let reader = Reader::from_file_exact(path).map_err(damaged)?;
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
