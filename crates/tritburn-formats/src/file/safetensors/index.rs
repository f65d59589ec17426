//! The index of a model in several safetensors files.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

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
    weight_map: Option<Pairs<String>>,
    /// Keys of a model's `config.json`.
    model_type: Option<IgnoredAny>,
    architectures: Option<IgnoredAny>,
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
        let Some(map) = raw.weight_map else {
            let is_config = raw.model_type.is_some() || raw.architectures.is_some();
            let reason = match is_config {
                true => "the configuration of a model, not weights nor an index of them",
                false => "no index of safetensors: it has no `weight_map`",
            };
            return Err(FileError::header(path, 0, reason));
        };
        let map = map.unique(path, "tensor")?;
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
