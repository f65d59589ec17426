//! Reading torch checkpoints.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use pytorch_reader::{PytorchError, PytorchReader, Tensor};

use crate::file::input::{OpenFile, ReadAt, read_at};
use crate::file::source::{buffer_range, require_range};
use crate::file::{DType, FileError, TensorInfo, TensorSource};

/// First bytes of a zip file.
const ZIP_MAGIC: [u8; 4] = *b"PK\x03\x04";

/// An open torch checkpoint. The pickle has been read, the tensors have not.
///
/// # Examples
///
/// ```
/// use tritburn_formats::file::{FileError, TorchCheckpoint};
///
/// // Containers of torch before 1.6, and everything else that is no zip file, are refused.
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("model.pt");
/// std::fs::write(&path, b"not a zip file")?;
/// assert!(matches!(TorchCheckpoint::open(&path), Err(FileError::Magic { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TorchCheckpoint {
    path: PathBuf,
    tensors: Vec<TensorInfo>,
    /// What reads each tensor.
    readers: Vec<Tensor>,
    by_name: HashMap<String, usize>,
    /// The tensor that parts were last read of. A part costs a read of the whole, which may be a
    /// strided view, and who reads a table does so in many parts.
    kept: Mutex<Option<Kept>>,
}

/// A tensor by index, and its bytes.
type Kept = (usize, Arc<Vec<u8>>);

impl TorchCheckpoint {
    /// Opens a checkpoint whose root is a dictionary of tensors. Dictionaries in it are flattened:
    /// their names are joined with a dot.
    ///
    /// # Errors
    /// [`FileError::Magic`] for other files, the containers of torch before 1.6 included;
    /// [`FileError::Torch`] for what the pickle reader refuses; [`FileError::Limit`] for a tensor
    /// that is larger than the file, which a view with a stride of 0 would be.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FileError> {
        Self::open_key(path.as_ref(), None)
    }

    /// As [`open`](Self::open), of the dictionary under `key` (such as `"state_dict"`) of the root.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_key(path: impl AsRef<Path>, key: Option<&str>) -> Result<Self, FileError> {
        let path = path.as_ref();
        let file = OpenFile::open(path)?;
        let mut magic = [0; 4];
        read_at(path, &file, 0, &mut magic, "the magic number")?;
        if magic != ZIP_MAGIC {
            return Err(FileError::Magic {
                path: path.to_path_buf(),
                expected: "torch zip",
                found: magic.to_vec(),
            });
        }
        let checkpoint = match key {
            Some(key) => PytorchReader::with_top_level_key(path, key),
            None => PytorchReader::new(path),
        };
        let checkpoint = checkpoint.map_err(|error| refused(path, error))?;
        let mut named: Vec<_> = checkpoint.into_tensors().into_iter().collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        let (mut tensors, mut readers) = (Vec::new(), Vec::new());
        let mut by_name = HashMap::new();
        for (name, reader) in named {
            let byte_len = reader.byte_len();
            if byte_len as u64 > file.size() {
                let what = format!("the number of bytes of tensor {name:?}");
                return Err(FileError::limit(path, what, byte_len as u64, file.size()));
            }
            by_name.insert(name.clone(), tensors.len());
            tensors.push(TensorInfo {
                name,
                dtype: dtype(reader.dtype()),
                shape: reader.shape().to_vec(),
                byte_len,
            });
            readers.push(reader);
        }
        Ok(Self {
            path: path.to_path_buf(),
            tensors,
            readers,
            by_name,
            kept: Mutex::new(None),
        })
    }

    /// The bytes of a tensor, kept until another is asked for.
    fn keep(&self, name: &str) -> Result<Arc<Vec<u8>>, FileError> {
        self.require(name)?;
        let index = self.by_name[name];
        // Held while reading, so that threads which want the same tensor read it once. What a panic
        // leaves behind is whole.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = kept.as_ref().filter(|(of, _)| *of == index) {
            return Ok(bytes.clone());
        }
        // Two tables need not be in memory together.
        *kept = None;
        let bytes = Arc::new(self.read_whole(name)?);
        *kept = Some((index, bytes.clone()));
        Ok(bytes)
    }

    fn read_whole(&self, name: &str) -> Result<Vec<u8>, FileError> {
        let info = self.require(name)?;
        let bytes = self.readers[self.by_name[name]].read().map_err(|error| {
            match error.kind() {
                // The file contradicts itself.
                ErrorKind::InvalidData | ErrorKind::UnexpectedEof => FileError::Torch {
                    path: self.path.clone(),
                    source: Box::new(error),
                },
                _ => FileError::io(&self.path)(error),
            }
        })?;
        match bytes.len() == info.byte_len {
            true => Ok(bytes),
            false => Err(FileError::ByteLen {
                path: self.path.clone(),
                tensor: name.to_string(),
                dtype: info.dtype,
                shape: info.shape.clone(),
                expected: info.byte_len as u64,
                found: bytes.len() as u64,
            }),
        }
    }
}

fn refused(path: &Path, error: PytorchError) -> FileError {
    match error {
        PytorchError::Io(error) if error.raw_os_error().is_some() => FileError::io(path)(error),
        other => FileError::Torch {
            path: path.to_path_buf(),
            source: Box::new(other),
        },
    }
}

fn dtype(dtype: pytorch_reader::DType) -> DType {
    use pytorch_reader::DType as Torch;
    match dtype {
        Torch::F64 => DType::F64,
        Torch::F32 => DType::F32,
        Torch::F16 => DType::F16,
        Torch::BF16 => DType::BF16,
        Torch::I64 => DType::I64,
        Torch::I32 => DType::I32,
        Torch::I16 => DType::I16,
        Torch::I8 => DType::I8,
        Torch::U64 => DType::U64,
        Torch::U32 => DType::U32,
        Torch::U16 => DType::U16,
        Torch::U8 => DType::U8,
        Torch::Bool => DType::Bool,
    }
}

impl TensorSource for TorchCheckpoint {
    fn path(&self) -> &Path {
        &self.path
    }

    /// All tensors, in the order of their names.
    fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name.get(name).map(|&index| &self.tensors[index])
    }

    /// Reads the whole tensor, whatever part of it is asked for, and keeps it until another is.
    fn read_into(&self, name: &str, start: usize, buffer: &mut [u8]) -> Result<(), FileError> {
        let range = buffer_range(start, buffer);
        require_range(self, name, &range)?;
        buffer.copy_from_slice(&self.keep(name)?[range]);
        Ok(())
    }

    fn read_range(&self, name: &str, range: Range<usize>) -> Result<Vec<u8>, FileError> {
        let info = require_range(self, name, &range)?;
        if range == (0..info.byte_len) {
            return self.read(name);
        }
        Ok(self.keep(name)?[range].to_vec())
    }

    /// All bytes; a tensor that is read at once is not kept.
    fn read(&self, name: &str) -> Result<Vec<u8>, FileError> {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.read_whole(name)
    }
}
