//! A model in several GGUF files, as `gguf-split` of llama.cpp cuts it: `name-00001-of-00003.gguf`
//! and so on, the metadata in the first, and in each its number and the count.

use std::path::{Path, PathBuf};

use super::Metadata;
use crate::file::FileError;

const NUMBER_KEY: &str = "split.no";
const COUNT_KEY: &str = "split.count";
const TENSORS_KEY: &str = "split.tensors.count";

/// Most parts of a model; each is an open file.
const MAX_PARTS: u64 = 512;

/// Parts of the model that this metadata belongs to; 1 for a model in one file.
pub(super) fn part_count(metadata: &Metadata) -> u64 {
    integer(metadata, COUNT_KEY).unwrap_or(1).max(1)
}

fn integer(metadata: &Metadata, key: &str) -> Option<u64> {
    metadata.get(key)?.as_u64()
}

/// What the name of a part says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartName {
    /// Before the number.
    prefix: String,
    /// Counted from 1.
    number: u64,
    count: u64,
}

impl PartName {
    /// The parts of `prefix-00001-of-00003.gguf`; five digits or more each.
    pub fn parse(path: &Path) -> Option<Self> {
        let stem = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
        let (rest, count) = stem.rsplit_once("-of-")?;
        let (prefix, number) = rest.rsplit_once('-')?;
        let digits = |text: &str| {
            let plain = text.len() >= 5 && text.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| text.parse().ok())?
        };
        let name = Self {
            prefix: prefix.to_string(),
            number: digits(number)?,
            count: digits(count)?,
        };
        (1..=name.count).contains(&name.number).then_some(name)
    }

    /// Whether both are parts of one model.
    pub fn same_model(&self, other: &Self) -> bool {
        (&self.prefix, self.count) == (&other.prefix, other.count)
    }

    fn file_name(&self, number: u64) -> String {
        format!("{}-{number:05}-of-{:05}.gguf", self.prefix, self.count)
    }
}

/// The files of all parts, in their order, of which `path` is one with this metadata.
pub(super) fn part_files(path: &Path, metadata: &Metadata) -> Result<Vec<PathBuf>, FileError> {
    let count = part_count(metadata);
    if count > MAX_PARTS {
        return Err(FileError::limit(path, COUNT_KEY, count, MAX_PARTS));
    }
    let name = PartName::parse(path).ok_or_else(|| FileError::Split {
        path: path.to_path_buf(),
        reason: format!(
            "a part of a model in {count} files, but not called like \
             name-00001-of-{count:05}.gguf, so the others cannot be found"
        ),
    })?;
    if name.count != count {
        return Err(FileError::Split {
            path: path.to_path_buf(),
            reason: format!(
                "{COUNT_KEY} is {count}, the name of the file says {}",
                name.count
            ),
        });
    }
    let file = |number| path.with_file_name(name.file_name(number));
    let files: Vec<PathBuf> = (1..=count).map(file).collect();
    match files.iter().position(|file| !file.is_file()) {
        None => Ok(files),
        Some(index) => Err(FileError::MissingPart {
            path: files[index].clone(),
            number: index as u64 + 1,
            count,
        }),
    }
}

/// Refuses a file that is not part `index` (from 0) of `count`.
pub(super) fn check_part(
    path: &Path,
    metadata: &Metadata,
    index: u64,
    count: u64,
) -> Result<(), FileError> {
    for (key, expected) in [(NUMBER_KEY, index), (COUNT_KEY, count)] {
        let found = integer(metadata, key);
        if found != Some(expected) {
            let found = found.map_or("missing".to_string(), |found| found.to_string());
            return Err(FileError::Split {
                path: path.to_path_buf(),
                reason: format!("{key} is {found}, expected {expected}"),
            });
        }
    }
    Ok(())
}

/// Refuses more or fewer tensors than the first part promises.
pub(super) fn check_tensors(path: &Path, first: &Metadata, found: usize) -> Result<(), FileError> {
    match integer(first, TENSORS_KEY) {
        Some(expected) if expected != found as u64 => Err(FileError::Split {
            path: path.to_path_buf(),
            reason: format!("{TENSORS_KEY} is {expected}, the parts have {found} tensors"),
        }),
        _ => Ok(()),
    }
}

/// The file to open in a folder: its only GGUF file, or the first part of its only split model.
pub(super) fn file_in(folder: &Path) -> Result<PathBuf, FileError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(FileError::io(folder))? {
        let file = entry.map_err(FileError::io(folder))?.path();
        if file.extension().is_some_and(|ext| ext == "gguf") {
            files.push(file);
        }
    }
    files.sort();
    let names: Vec<Option<PartName>> = files.iter().map(|file| PartName::parse(file)).collect();
    let of_first = |name: &Option<PartName>| match (name, &names[0]) {
        (Some(name), Some(first)) => name.same_model(first),
        _ => false,
    };
    let count = files.len();
    let one_model = count == 1 || count > 1 && names.iter().all(of_first);
    match files.into_iter().next() {
        Some(first) if one_model => Ok(first),
        _ => Err(FileError::Folder {
            path: folder.to_path_buf(),
            reason: match count {
                0 => "no .gguf file".to_string(),
                _ => format!("{count} .gguf files, which are not the parts of one model"),
            },
        }),
    }
}
