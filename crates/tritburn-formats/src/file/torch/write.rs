//! Writing torch checkpoints.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use zip::result::ZipError;
use zip::write::{SimpleFileOptions, ZipWriter};

use super::pickle::{state_dict, storage_class};
use crate::file::output::{incomplete, persist, temporary};
use crate::file::{FileError, TensorSpec};

/// Root folder in the archive, torch's own name where it knows no file name.
const ROOT: &str = "archive";

/// Alignment of storages that torch keeps for mapped files.
const ALIGNMENT: u16 = 64;

/// A torch checkpoint being written: a dictionary of tensors, opened by
/// `torch.load(weights_only=True)`. Its tensors are fixed at the start; their bytes follow, one tensor
/// after the other in any order, each in chunks. Only [`finish`](Self::finish) makes the file appear.
///
/// # Examples
///
/// ```
/// use tritburn_formats::file::{DType, TensorSource, TensorSpec, TorchCheckpoint, TorchWriter};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("model.pt");
/// let tensors = [TensorSpec::new("norm.weight", DType::BF16, [4])];
/// let mut writer = TorchWriter::create(&path, &tensors)?;
/// writer.write("norm.weight", &[0; 8])?;
/// writer.finish()?;
///
/// let checkpoint = TorchCheckpoint::open(&path)?;
/// assert_eq!(checkpoint.require("norm.weight")?.shape, [4]);
/// assert_eq!(checkpoint.read("norm.weight")?, [0; 8]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TorchWriter {
    path: PathBuf,
    zip: ZipWriter<NamedTempFile>,
    tensors: Vec<Declared>,
    by_name: HashMap<String, usize>,
    /// The tensor whose entry is open.
    current: Option<usize>,
}

struct Declared {
    name: String,
    len: u64,
    written: u64,
    started: bool,
}

impl TorchWriter {
    /// Starts a checkpoint of `tensors`.
    ///
    /// # Errors
    /// [`FileError::UnknownType`] for types without a torch storage, [`FileError::Shape`],
    /// [`FileError::Duplicate`], [`FileError::Io`].
    pub fn create(path: impl AsRef<Path>, tensors: &[TensorSpec]) -> Result<Self, FileError> {
        let path = path.as_ref();
        let (mut declared, mut classes) = (Vec::new(), Vec::new());
        let mut by_name = HashMap::new();
        for tensor in tensors {
            let class = storage_class(tensor.dtype).ok_or_else(|| tensor.type_error(path))?;
            let len = tensor.byte_len(path)? as u64;
            if by_name
                .insert(tensor.name.clone(), declared.len())
                .is_some()
            {
                return Err(FileError::Duplicate {
                    path: path.to_path_buf(),
                    what: "tensor",
                    name: tensor.name.clone(),
                });
            }
            classes.push((tensor, class));
            declared.push(Declared {
                name: tensor.name.clone(),
                len,
                written: 0,
                started: false,
            });
        }
        let mut writer = Self {
            path: path.to_path_buf(),
            zip: ZipWriter::new(temporary(path)?),
            tensors: declared,
            by_name,
            current: None,
        };
        writer.entry("data.pkl", &state_dict(&classes))?;
        writer.entry("byteorder", b"little")?;
        Ok(writer)
    }

    /// Appends `bytes` to tensor `name`, whose predecessor must be complete.
    ///
    /// # Errors
    /// [`FileError::NotFound`]; [`FileError::Written`] beyond the declared length, or for the
    /// tensor before that is incomplete; [`FileError::Io`].
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), FileError> {
        let index = *self.by_name.get(name).ok_or_else(|| FileError::NotFound {
            path: self.path.clone(),
            tensor: name.to_string(),
        })?;
        let tensor = &self.tensors[index];
        let written = tensor.written + bytes.len() as u64;
        if written > tensor.len {
            return Err(incomplete(&self.path, name, tensor.len, written));
        }
        if bytes.is_empty() {
            return Ok(());
        }
        if self.current != Some(index) {
            self.start(index)?;
        }
        self.zip
            .write_all(bytes)
            .map_err(FileError::io(&self.path))?;
        self.tensors[index].written = written;
        Ok(())
    }

    /// Gives the file its name, replacing an older one.
    ///
    /// # Errors
    /// [`FileError::Written`] if a tensor is incomplete; no file appears then. [`FileError::Io`].
    pub fn finish(mut self) -> Result<(), FileError> {
        for index in 0..self.tensors.len() {
            let Declared {
                name,
                len,
                written,
                started,
            } = &self.tensors[index];
            if written != len {
                return Err(incomplete(&self.path, name, *len, *written));
            }
            if !started {
                // No bytes, but a storage all the same.
                self.start(index)?;
            }
        }
        self.entry("version", b"3\n")?;
        let file = self.zip.finish().map_err(|e| zip_error(&self.path, e))?;
        persist(file, &self.path)
    }

    /// Opens the entry of a tensor's storage.
    fn start(&mut self, index: usize) -> Result<(), FileError> {
        if let Some(Declared {
            name, len, written, ..
        }) = self.current.map(|current| &self.tensors[current])
            && written != len
        {
            return Err(incomplete(&self.path, name, *len, *written));
        }
        let tensor = &mut self.tensors[index];
        tensor.started = true;
        self.current = Some(index);
        let options = stored().large_file(tensor.len >= u32::MAX.into());
        let name = format!("{ROOT}/data/{index}");
        self.zip
            .start_file(name, options)
            .map_err(|e| zip_error(&self.path, e))
    }

    /// Writes a whole small entry.
    fn entry(&mut self, name: &str, bytes: &[u8]) -> Result<(), FileError> {
        let name = format!("{ROOT}/{name}");
        self.zip
            .start_file(name, stored())
            .map_err(|e| zip_error(&self.path, e))?;
        self.zip.write_all(bytes).map_err(FileError::io(&self.path))
    }
}

fn stored() -> SimpleFileOptions {
    SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .with_alignment(ALIGNMENT)
}

fn zip_error(path: &Path, error: ZipError) -> FileError {
    FileError::io(path)(error.into())
}
