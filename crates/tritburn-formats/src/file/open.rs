//! Opening a model file of any kind.

use std::path::Path;

use super::input::{OpenFile, ReadAt};
use super::{FileError, Gguf, Safetensors, TensorSource, TorchCheckpoint};

/// The kinds of model files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// [`Safetensors`]: a file, an index or a folder.
    Safetensors,
    /// [`Gguf`]: a file, a part of a split model, or the folder of one.
    Gguf,
    /// [`TorchCheckpoint`].
    Torch,
}

impl FileKind {
    /// Tells the kind from a file's first bytes; whatever is neither GGUF nor a zip file may be
    /// safetensors, whose reader will say. A folder is GGUF if it has files of that kind and no
    /// safetensors.
    ///
    /// # Errors
    /// [`FileError::Io`]; [`FileError::LfsPointer`] for a file that was not downloaded.
    pub fn detect(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let path = path.as_ref();
        if path.is_dir() {
            return match holds(path, "safetensors")? || !holds(path, "gguf")? {
                true => Ok(Self::Safetensors),
                false => Ok(Self::Gguf),
            };
        }
        let mut magic = [0; 4];
        let file = OpenFile::open(path)?;
        let len = file.size().min(4) as usize;
        file.read_exact_at(0, &mut magic[..len])
            .map_err(FileError::io(path))?;
        Ok(match &magic {
            b"GGUF" => Self::Gguf,
            b"PK\x03\x04" => Self::Torch,
            _ => Self::Safetensors,
        })
    }
}

/// Whether a folder has a file of this extension.
fn holds(folder: &Path, extension: &str) -> Result<bool, FileError> {
    for entry in std::fs::read_dir(folder).map_err(FileError::io(folder))? {
        let file = entry.map_err(FileError::io(folder))?.path();
        if file.extension().is_some_and(|found| found == extension) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Opens a model file or folder of any kind.
///
/// # Errors
/// As [`Safetensors::open`], [`Gguf::open`] and [`TorchCheckpoint::open`].
pub fn open(path: impl AsRef<Path>) -> Result<Box<dyn TensorSource>, FileError> {
    let path = path.as_ref();
    Ok(match FileKind::detect(path)? {
        FileKind::Safetensors => Box::new(Safetensors::open(path)?),
        FileKind::Gguf => Box::new(Gguf::open(path)?),
        FileKind::Torch => Box::new(TorchCheckpoint::open(path)?),
    })
}
