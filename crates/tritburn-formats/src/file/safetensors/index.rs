//! The index of a model in several safetensors files.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::header::{Pairs, parse_json};
use crate::file::FileError;

/// Most shards of a model; each is an open file.
const MAX_SHARDS: usize = 512;

/// Which file holds which tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardIndex {
    /// File names, each once, in the order of their names.
    pub shards: Vec<String>,
    /// Tensor name to an index into `shards`.
    pub tensors: BTreeMap<String, usize>,
}

#[derive(Deserialize)]
struct RawIndex {
    weight_map: Pairs<String>,
}

impl ShardIndex {
    /// Parses an index; `path` stands in errors.
    ///
    /// A shard must be the plain name of a `.safetensors` file: no folder, no `..`, and no other
    /// index, so an index can neither leave its folder nor lead back to itself.
    ///
    /// # Errors
    /// [`FileError::Header`], [`FileError::Duplicate`], [`FileError::ShardName`],
    /// [`FileError::Limit`].
    pub fn parse(path: impl AsRef<Path>, json: &[u8]) -> Result<Self, FileError> {
        let path = path.as_ref();
        let raw: RawIndex = parse_json(path, 0, json)?;
        let map = raw.weight_map.unique(path, "tensor")?;
        let mut numbers: BTreeMap<&str, usize> =
            map.values().map(|name| (name.as_str(), 0)).collect();
        if numbers.len() > MAX_SHARDS {
            let (found, max) = (numbers.len() as u64, MAX_SHARDS as u64);
            return Err(FileError::limit(path, "the number of shards", found, max));
        }
        for (number, (name, slot)) in numbers.iter_mut().enumerate() {
            if !is_shard_name(name) {
                return Err(FileError::ShardName {
                    path: path.to_path_buf(),
                    shard: name.to_string(),
                });
            }
            *slot = number;
        }
        let shards = numbers.keys().map(|name| name.to_string()).collect();
        let tensors = map
            .iter()
            .map(|(tensor, shard)| (tensor.clone(), numbers[shard.as_str()]));
        Ok(Self {
            tensors: tensors.collect(),
            shards,
        })
    }
}

fn is_shard_name(name: &str) -> bool {
    let stem = name.strip_suffix(".safetensors");
    stem.is_some_and(|stem| !stem.is_empty()) && !name.contains(['/', '\\', ':', '\0'])
}
