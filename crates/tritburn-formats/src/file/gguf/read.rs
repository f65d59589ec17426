//! Reading GGUF files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::header::Header;
use super::value::{Metadata, duplicate};
use super::{TypeProblem, split};
use crate::file::input::{OpenFile, ReadAt, read_at};
use crate::file::source::{buffer_range, require_range};
use crate::file::{DType, FileError, TensorInfo, TensorSource};

/// An open GGUF model: one file, or all parts of a split one. Headers are in memory, tensors are not.
///
/// # Examples
///
/// ```
/// use tritburn_formats::file::{FileError, Gguf, TensorSource};
///
/// // Version 3, no tensors, no metadata.
/// let bytes = [&b"GGUF"[..], &3_u32.to_le_bytes(), &[0; 16]].concat();
/// let file = Gguf::from_bytes("example", bytes)?; // `open` for a file
/// assert_eq!(file.version(), 3);
/// assert!(file.tensors().is_empty() && file.metadata().get("general.name").is_none());
///
/// let other = Gguf::from_bytes("example", b"GGML".to_vec());
/// assert!(matches!(other, Err(FileError::Magic { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Gguf {
    path: PathBuf,
    parts: Vec<Part>,
    version: u32,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    /// Part of each tensor, and offset in it.
    locations: Vec<(usize, u64)>,
    by_name: HashMap<String, usize>,
    type_problems: Vec<TypeProblem>,
}

/// One open file.
struct Part {
    path: PathBuf,
    input: Box<dyn ReadAt>,
}

impl Gguf {
    /// Opens a file and reads its header. A part of a split model (`split.count` in its metadata is
    /// over 1) stands for all of them, which lie beside it under the names that llama.cpp gives
    /// them, `name-00001-of-00003.gguf`; metadata is that of the first part. Of a folder, its only
    /// GGUF file is opened, or its only split model.
    ///
    /// # Errors
    /// [`FileError`] for anything but complete, consistent headers whose tensors lie in the files:
    /// of a split model [`FileError::MissingPart`], [`FileError::Split`] for parts that disagree,
    /// and [`FileError::Duplicate`] for a tensor in two of them; [`FileError::Folder`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let path = path.as_ref();
        let mut model = match path.is_dir() {
            true => Self::open_file(&split::file_in(path)?)?,
            false => Self::open_file(path)?,
        };
        model.path = path.to_path_buf();
        Ok(model)
    }

    fn open_file(path: &Path) -> Result<Self, FileError> {
        let input = Box::new(OpenFile::open(path)?);
        let header = Header::read(path, input.as_ref(), "")?;
        let count = split::part_count(&header.metadata);
        if count == 1 {
            return Self::new(path, header, input);
        }
        let files = split::part_files(path, &header.metadata)?;
        let mut model: Option<Self> = None;
        for (index, file) in files.iter().enumerate() {
            let input = Box::new(OpenFile::open(file)?);
            let architecture = model.as_ref().map(|model| model.metadata.architecture());
            let header = Header::read(file, input.as_ref(), architecture.unwrap_or_default())?;
            split::check_part(file, &header.metadata, index as u64, count)?;
            match &mut model {
                None => model = Some(Self::new(file, header, input)?),
                Some(model) => model.add(file, header, input)?,
            }
        }
        // There is at least one part.
        let model = model.ok_or_else(|| FileError::MissingPart {
            path: path.to_path_buf(),
            number: 1,
            count,
        })?;
        split::check_tensors(path, &model.metadata, model.tensors.len())?;
        Ok(model)
    }

    /// Reads the header of a file in memory; `name` stands for its path in errors. A part of a split
    /// model is read alone.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(name: impl AsRef<Path>, bytes: Vec<u8>) -> Result<Self, FileError> {
        let (name, input) = (name.as_ref(), Box::new(bytes));
        Self::new(name, Header::read(name, input.as_ref(), "")?, input)
    }

    fn new(path: &Path, mut header: Header, input: Box<dyn ReadAt>) -> Result<Self, FileError> {
        let mut model = Self {
            path: path.to_path_buf(),
            parts: Vec::new(),
            version: header.version,
            metadata: std::mem::take(&mut header.metadata),
            tensors: Vec::new(),
            locations: Vec::new(),
            by_name: HashMap::new(),
            type_problems: Vec::new(),
        };
        model.add(path, header, input)?;
        Ok(model)
    }

    fn add(
        &mut self,
        path: &Path,
        header: Header,
        input: Box<dyn ReadAt>,
    ) -> Result<(), FileError> {
        for (tensor, offset) in header.tensors.into_iter().zip(header.offsets) {
            let index = self.tensors.len();
            if self.by_name.insert(tensor.name.clone(), index).is_some() {
                return Err(duplicate(path, "tensor", tensor.name));
            }
            self.tensors.push(tensor);
            self.locations.push((self.parts.len(), offset));
        }
        self.type_problems.extend(header.problems);
        self.parts.push(Part {
            path: path.to_path_buf(),
            input,
        });
        Ok(())
    }

    /// Version of the (first) file: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Metadata of the (first) file.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The files that the tensors come from: one, or the parts in their order.
    pub fn files(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.parts.iter().map(|part| part.path.as_path())
    }

    /// Tensors that are listed with an unknown type because their bytes do not fit the type that
    /// the number stands for.
    pub fn type_problems(&self) -> &[TypeProblem] {
        &self.type_problems
    }
}

impl TensorSource for Gguf {
    fn path(&self) -> &Path {
        &self.path
    }

    fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name.get(name).map(|&index| &self.tensors[index])
    }

    fn problems(&self) -> Vec<String> {
        self.type_problems
            .iter()
            .map(TypeProblem::to_string)
            .collect()
    }

    fn read_into(&self, name: &str, start: usize, buffer: &mut [u8]) -> Result<(), FileError> {
        let info = require_range(self, name, &buffer_range(start, buffer))?;
        if let DType::Ggml(kind) = info.dtype
            && !kind.is_known()
        {
            return Err(FileError::UnknownType {
                path: self.path.clone(),
                tensor: name.to_string(),
                found: kind.to_string(),
            });
        }
        // The data of a file may end before the place of tensors without elements.
        if buffer.is_empty() {
            return Ok(());
        }
        let (part, offset) = self.locations[self.by_name[name]];
        let part = &self.parts[part];
        let offset = offset + start as u64;
        read_at(&part.path, part.input.as_ref(), offset, buffer, name)
    }
}
