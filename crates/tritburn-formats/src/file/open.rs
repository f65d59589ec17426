//! Opening a model file of any kind.

use std::path::Path;

use super::input::{OpenFile, ReadAt};
use super::{FileError, Gguf, Safetensors, TensorSource, TorchCheckpoint, safetensors};

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
    /// Tells the kind from a file's first bytes. Safetensors have no magic number: a file that is
    /// neither GGUF nor a zip file, but may start so, is left to their reader, and so is a `.json`,
    /// which may be an index. A folder is GGUF if it has files of that kind and no safetensors.
    ///
    /// # Errors
    /// [`FileError::Io`]; [`FileError::LfsPointer`] for a file that was not downloaded,
    /// [`FileError::Kind`] for one that is none of these.
    pub fn detect(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let path = path.as_ref();
        if path.is_dir() {
            return match holds(path, "safetensors")? || !holds(path, "gguf")? {
                true => Ok(Self::Safetensors),
                false => Ok(Self::Gguf),
            };
        }
        let file = OpenFile::open(path)?;
        let mut start = vec![0; file.size().min(START as u64) as usize];
        file.read_exact_at(0, &mut start)
            .map_err(FileError::io(path))?;
        let is_index = path
            .extension()
            .is_some_and(|ext| ext.eq_ignore_ascii_case("json"));
        match start.as_slice() {
            [b'G', b'G', b'U', b'F', ..] => Ok(Self::Gguf),
            [b'P', b'K', 3, 4, ..] => Ok(Self::Torch),
            start if is_index || safetensors::may_start(start, file.size()) => {
                Ok(Self::Safetensors)
            }
            start => Err(FileError::Kind {
                path: path.to_path_buf(),
                found: start.to_vec(),
                like: looks_like(start),
            }),
        }
    }
}

/// First bytes of a file that are looked at.
const START: usize = 16;

/// How files start that are taken for models.
const OTHERS: [(&[u8], &str); 12] = [
    (b"lmgg", "a file of ggml before GGUF"),
    (b"fmgg", "a file of ggml before GGUF"),
    (b"tjgg", "a file of ggml before GGUF"),
    (b"\x80", "a Python pickle, as torch wrote before 1.6"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG", "a PNG picture"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"%PDF", "a PDF document"),
    (b"<", "a page of HTML or XML"),
];

fn looks_like(start: &[u8]) -> Option<&'static str> {
    let found = OTHERS.iter().find(|(magic, _)| start.starts_with(magic));
    found.map_or_else(|| json(start), |(_, like)| Some(*like))
}

/// An object, empty or with a first key: a template may start with a brace too.
fn json(start: &[u8]) -> Option<&'static str> {
    let inside = start.strip_prefix(b"{")?.trim_ascii_start();
    let object = inside.is_empty() || inside.starts_with(b"\"") || inside.starts_with(b"}");
    object.then_some("JSON text")
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
/// As [`FileKind::detect`], [`Safetensors::open`], [`Gguf::open`] and [`TorchCheckpoint::open`].
pub fn open(path: impl AsRef<Path>) -> Result<Box<dyn TensorSource>, FileError> {
    let path = path.as_ref();
    Ok(match FileKind::detect(path)? {
        FileKind::Safetensors => Box::new(Safetensors::open(path)?),
        FileKind::Gguf => Box::new(Gguf::open(path)?),
        FileKind::Torch => Box::new(TorchCheckpoint::open(path)?),
    })
}
