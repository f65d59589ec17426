//! A model file in memory: named tensors, whatever the container.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;

use super::error::StoreError;

/// Metadata key of the format's name and version, `"tritburn-model 1"`. One entry: safetensors
/// writes several in no fixed order, and the same model shall give the same bytes.
pub(super) const FORMAT_KEY: &str = "tritburn.format";
/// Name of the format.
const FORMAT_NAME: &str = "tritburn-model";
/// Version this build writes and reads.
const VERSION: u32 = 1;

/// Value of [`FORMAT_KEY`] in files that this build writes.
pub(super) fn format_value() -> String {
    format!("{FORMAT_NAME} {VERSION}")
}

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

/// Checks the format's name and version in the value of [`FORMAT_KEY`].
pub(super) fn check_format(path: &Path, value: Option<&String>) -> Result<(), StoreError> {
    let path: PathBuf = path.to_path_buf();
    let found = value.cloned();
    let Some((FORMAT_NAME, version)) = value.and_then(|value| value.split_once(' ')) else {
        return Err(StoreError::Format {
            path,
            found,
            expected: FORMAT_NAME,
        });
    };
    if version.parse() != Ok(VERSION) {
        let found = version.to_string();
        return Err(StoreError::Version {
            path,
            found,
            supported: VERSION,
        });
    }
    Ok(())
}
