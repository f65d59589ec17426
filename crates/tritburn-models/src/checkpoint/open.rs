//! Which format a path holds.

use std::fs;
use std::path::{Path, PathBuf};

use tritburn_formats::file::safetensors::INDEX_FILE;
use tritburn_formats::file::{FileError, FileKind, Gguf, Safetensors};

use super::bare::Bare;
use super::bitnet_gpu::{self, BitNetGpu};
use super::gguf::GgufFormat;
use super::hf::Hf;
use super::stored::Stored;
use super::tritburn::{Tritburn, VERSION_KEY};
use super::{Checkpoint, CheckpointError, Overrides};
use crate::config::DecoderConfig;
use crate::text::read_text;

const CONFIG: &str = "config.json";

/// Opens a checkpoint of any known format: a folder, or the file of weights in it.
///
/// # Errors
/// [`CheckpointError`]: for anything that is not a complete checkpoint of a model that this crate
/// runs.
///
/// # Examples
///
/// ```
/// use tritburn_models::checkpoint::{self, Checkpoint, CheckpointError, Synthetic};
/// use tritburn_models::convert::{Options, Target, convert};
/// use tritburn_models::DecoderConfig;
///
/// // A small folder, in place of a downloaded one.
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("model");
/// let made_up = Synthetic::new(DecoderConfig::tiny(), 1)?;
/// convert(&made_up, &path, Target::Hf, &Options::default(), &mut |_| {})?;
///
/// let checkpoint = checkpoint::open(&path)?;
/// assert_eq!(checkpoint.format(), "Hugging Face, packed");
/// assert_eq!(checkpoint.config().num_hidden_layers, 2);
/// assert_eq!(checkpoint.embedding()?.shape, [512, 128]);
///
/// let nothing = checkpoint::open(folder.path());
/// assert!(matches!(nothing, Err(CheckpointError::Unknown { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn open(path: impl AsRef<Path>) -> Result<Box<dyn Checkpoint>, CheckpointError> {
    open_with(path, &Overrides::default())
}

/// As [`open`], with some keys of the configuration replaced.
///
/// # Errors
/// As [`open`]; [`CheckpointError::Override`] for values that the format has no place for.
pub fn open_with(
    path: impl AsRef<Path>,
    overrides: &Overrides,
) -> Result<Box<dyn Checkpoint>, CheckpointError> {
    let path = weights(path)?;
    if path.is_dir() {
        let tensors = Safetensors::open(&path)?;
        if let Some(unread) = tensors.unread() {
            tracing::warn!(
                "{} is not read, nor the files that it names: the single file beside it is",
                unread.display()
            );
        }
        return open_safetensors(&path, tensors, overrides);
    }
    match FileKind::detect(&path)? {
        FileKind::Gguf => {
            let file = Gguf::open(&path)?;
            Ok(Box::new(Stored::<GgufFormat>::open(file, overrides)?))
        }
        FileKind::Torch => Ok(Box::new(Stored::<BitNetGpu>::open(&path, overrides)?)),
        _ => {
            let folder = path.parent().unwrap_or(Path::new(""));
            open_safetensors(folder, Safetensors::open(&path)?, overrides)
        }
    }
}

/// The configuration beside a model's weights; `None` without one. `norms` says that the weights
/// have norms of projections, which some configurations do not name.
pub(super) fn read_config(
    folder: &Path,
    overrides: &Overrides,
    norms: bool,
) -> Result<Option<DecoderConfig>, CheckpointError> {
    let path = folder.join(CONFIG);
    let Some(text) = read_text(&path)? else {
        return Ok(None);
    };
    let wrong = |source| CheckpointError::Config { path, source };
    let mut config: serde_json::Value = match serde_json::from_str(&text) {
        Ok(config) => config,
        Err(error) => return Err(wrong(error.into())),
    };
    overrides.apply_json(&mut config)?;
    DecoderConfig::from_hf_value(config, norms)
        .map(Some)
        .map_err(wrong)
}

/// Where the weights of a checkpoint lie: in the file of that kind that a folder has, in the folder
/// itself if they are safetensors, which may be several, or in `path` if that is a file.
///
/// # Errors
/// [`CheckpointError::Unknown`] for a folder without any, [`CheckpointError::Several`] for one with
/// more than one GGUF file, [`CheckpointError::File`] for one that cannot be listed.
pub fn weights(path: impl AsRef<Path>) -> Result<PathBuf, CheckpointError> {
    let path = path.as_ref();
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let listed: Result<Vec<PathBuf>, _> = fs::read_dir(path).and_then(|entries| {
        let name = |entry: std::io::Result<fs::DirEntry>| Ok(entry?.file_name().into());
        entries.map(name).collect()
    });
    let path = path.to_path_buf();
    let names = match listed {
        Ok(names) => names,
        Err(source) => return Err(FileError::Io { path, source }.into()),
    };
    let ends_with = |end: &str| {
        let named = names.iter();
        named
            .filter(|name| name.extension().is_some_and(|e| e == end))
            .collect::<Vec<_>>()
    };
    // An index names the shards that are not there.
    let has_index = names.iter().any(|name| name == Path::new(INDEX_FILE));
    if has_index || !ends_with("safetensors").is_empty() {
        return Ok(path);
    }
    let int2 = Path::new(bitnet_gpu::names::FILE);
    if names.iter().any(|name| name == int2) {
        return Ok(path.join(int2));
    }
    match ends_with("gguf").as_slice() {
        [] => Err(CheckpointError::Unknown {
            path,
            reason: "no *.safetensors, no model_state_int2.pt, no *.gguf",
        }),
        [file] => Ok(path.join(file)),
        [first, others @ ..] if others.iter().all(|name| same_split(first, name)) => {
            Ok(path.join(others.iter().fold(*first, |a, &b| a.min(b))))
        }
        [first, others @ ..] => Err(CheckpointError::Several {
            path,
            count: 1 + others.len(),
            first: others.iter().fold(*first, |a, &b| a.min(b)).clone(),
        }),
    }
}

/// Whether both are parts of one model, `NAME-00001-of-00003.gguf`.
fn same_split(a: &Path, b: &Path) -> bool {
    let set = |path: &Path| {
        let stem = path.file_stem()?.to_str()?;
        let (rest, count) = stem.rsplit_once("-of-")?;
        let (name, _number) = rest.rsplit_once('-')?;
        Some((name.to_string(), count.to_string()))
    };
    set(a).is_some() && set(a) == set(b)
}

fn open_safetensors(
    folder: &Path,
    tensors: Safetensors,
    overrides: &Overrides,
) -> Result<Box<dyn Checkpoint>, CheckpointError> {
    let unknown = || CheckpointError::Unknown {
        path: folder.to_path_buf(),
        reason: "safetensors without a config.json beside them",
    };
    if tensors.metadata().contains_key(VERSION_KEY) {
        let config = read_config(folder, overrides, false)?.ok_or_else(unknown)?;
        return Ok(Box::new(Stored::<Tritburn>::open(folder, tensors, config)?));
    }
    let tensors = Bare::new(tensors);
    let norms = Stored::<Hf>::has_projection_norms(&tensors);
    let config = read_config(folder, overrides, norms)?.ok_or_else(unknown)?;
    let mut checkpoint = Stored::<Hf>::open(folder, tensors, config)?;
    if let Some(inputs) = overrides.inputs()? {
        checkpoint.config.inputs = inputs;
    }
    Ok(Box::new(checkpoint))
}
