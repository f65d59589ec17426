//! A new file whose parts are known beforehand: each is written chunk by chunk, in any order, and the
//! file gets its name when all of them are complete.

use std::collections::HashMap;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::FileError;

/// A tensor's place in the new file.
struct Region {
    name: String,
    offset: u64,
    len: u64,
    written: u64,
}

/// The file while it is written: a temporary one in the same folder, removed unless it is finished.
pub(crate) struct Output {
    path: PathBuf,
    file: NamedTempFile,
    /// Where the next write goes without a seek.
    position: u64,
    regions: Vec<Region>,
    by_name: HashMap<String, usize>,
}

/// A temporary file beside `path`, with the permissions of an ordinary new file.
pub(crate) fn temporary(path: &Path) -> Result<NamedTempFile, FileError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".tritburn-");
    #[cfg(unix)]
    let everyone: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(everyone);
    builder.tempfile_in(folder).map_err(FileError::io(path))
}

/// Gives a complete temporary file its name.
pub(crate) fn persist(file: NamedTempFile, path: &Path) -> Result<(), FileError> {
    file.as_file().sync_all().map_err(FileError::io(path))?;
    file.persist(path)
        .map_err(|e| FileError::io(path)(e.error))?;
    Ok(())
}

impl Output {
    /// Starts the file with `header`. Behind it come `tensors`: name, offset in the file, length.
    /// `len` is the length of the whole file; what no tensor covers is zero.
    pub fn create(
        path: &Path,
        header: &[u8],
        tensors: impl IntoIterator<Item = (String, u64, u64)>,
        len: u64,
    ) -> Result<Self, FileError> {
        let mut by_name = HashMap::new();
        let mut regions = Vec::new();
        for (name, offset, len) in tensors {
            if by_name.insert(name.clone(), regions.len()).is_some() {
                return Err(FileError::Duplicate {
                    path: path.to_path_buf(),
                    what: "tensor",
                    name,
                });
            }
            regions.push(Region {
                name,
                offset,
                len,
                written: 0,
            });
        }
        let mut file = temporary(path)?;
        file.as_file().set_len(len).map_err(FileError::io(path))?;
        file.write_all(header).map_err(FileError::io(path))?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            position: header.len() as u64,
            regions,
            by_name,
        })
    }

    /// Appends `bytes` to what tensor `name` has so far.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), FileError> {
        let index = self.by_name.get(name).ok_or_else(|| FileError::NotFound {
            path: self.path.clone(),
            tensor: name.to_string(),
        })?;
        let region = &mut self.regions[*index];
        let written = region.written + bytes.len() as u64;
        if written > region.len {
            return Err(incomplete(&self.path, &region.name, region.len, written));
        }
        let offset = region.offset + region.written;
        if offset != self.position {
            self.file
                .seek(SeekFrom::Start(offset))
                .map_err(FileError::io(&self.path))?;
        }
        self.position = u64::MAX; // unknown, should the write fail
        self.file
            .write_all(bytes)
            .map_err(FileError::io(&self.path))?;
        self.position = offset + bytes.len() as u64;
        region.written = written;
        Ok(())
    }

    /// Refuses tensors that are not complete.
    pub fn check(&self) -> Result<(), FileError> {
        match self
            .regions
            .iter()
            .find(|region| region.written != region.len)
        {
            Some(region) => Err(incomplete(
                &self.path,
                &region.name,
                region.len,
                region.written,
            )),
            None => Ok(()),
        }
    }

    /// Gives the file its name, if all tensors are complete.
    pub fn finish(self) -> Result<(), FileError> {
        self.check()?;
        persist(self.file, &self.path)
    }
}

pub(crate) fn incomplete(path: &Path, tensor: &str, expected: u64, found: u64) -> FileError {
    FileError::Written {
        path: path.to_path_buf(),
        tensor: tensor.to_string(),
        expected,
        found,
    }
}
