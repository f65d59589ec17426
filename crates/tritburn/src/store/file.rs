//! A model file in memory: named tensors, whatever the container.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;

use super::error::StoreError;

/// Metadata key of the format's name.
pub const FORMAT_KEY: &str = "tritburn.format";
/// Metadata key of the format's version.
pub const VERSION_KEY: &str = "tritburn.version";
/// Name of the format.
pub const FORMAT_NAME: &str = "tritburn-model";
/// Version this build writes and reads.
pub const VERSION: u32 = 1;

/// The tensors of a model by path.
pub(super) type Tensors = BTreeMap<String, TensorData>;

/// Which container a path asks for.
pub(super) enum Container {
    Burnpack,
    Safetensors,
}

impl Container {
    pub fn of(path: &Path) -> Result<Self, StoreError> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("bpk") => Ok(Self::Burnpack),
            Some("safetensors") => Ok(Self::Safetensors),
            _ => Err(StoreError::Extension {
                path: path.to_path_buf(),
            }),
        }
    }
}

/// Checks the format's name and version in a file's metadata.
pub(super) fn check_metadata<'a>(
    path: &Path,
    get: impl Fn(&str) -> Option<&'a String>,
) -> Result<(), StoreError> {
    let found = get(FORMAT_KEY).cloned();
    let path: PathBuf = path.to_path_buf();
    if found.as_deref() != Some(FORMAT_NAME) {
        return Err(StoreError::Format {
            path,
            found,
            expected: FORMAT_NAME,
        });
    }
    let found = get(VERSION_KEY).cloned();
    if found.as_deref() != Some(VERSION.to_string().as_str()) {
        return Err(StoreError::Version {
            path,
            found,
            supported: VERSION,
        });
    }
    Ok(())
}
