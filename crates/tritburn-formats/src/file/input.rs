//! Positioned reads: many readers share one handle, and nothing is read that was not asked for.

use std::fs::File;
use std::io;
use std::path::Path;

use super::FileError;

/// Bytes that can be read at any place, by several threads at once.
pub trait ReadAt: Send + Sync {
    /// Number of bytes.
    fn size(&self) -> u64;

    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` beyond the end, and what the operating system says.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(buffer.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

/// How a Git LFS pointer starts. No model file does: to safetensors it is an absurd length.
const LFS_POINTER: &[u8] = b"version https://git-lfs";

/// Whether a file that starts so is what Git LFS leaves in the place of one that was not downloaded.
///
/// # Examples
///
/// ```
/// use tritburn_formats::file::is_lfs_pointer;
///
/// assert!(is_lfs_pointer(b"version https://git-lfs.github.com/spec/v1"));
/// assert!(!is_lfs_pointer(b"{}"));
/// ```
pub fn is_lfs_pointer(start: &[u8]) -> bool {
    start.starts_with(LFS_POINTER)
}

/// An open file. Its length is taken once.
pub(crate) struct OpenFile {
    #[cfg(unix)]
    file: File,
    #[cfg(not(unix))]
    file: std::sync::Mutex<File>,
    len: u64,
}

impl OpenFile {
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        let file = File::open(path).map_err(FileError::io(path))?;
        let meta = file.metadata().map_err(FileError::io(path))?;
        if meta.is_dir() {
            return Err(FileError::io(path)(io::ErrorKind::IsADirectory.into()));
        }
        let open = Self {
            #[cfg(unix)]
            file,
            #[cfg(not(unix))]
            file: std::sync::Mutex::new(file),
            len: meta.len(),
        };
        open.refuse_pointer(path)?;
        Ok(open)
    }

    /// Every reader would else find damage in a file that was never downloaded.
    fn refuse_pointer(&self, path: &Path) -> Result<(), FileError> {
        let mut start = [0; LFS_POINTER.len()];
        if self.len < start.len() as u64 {
            return Ok(());
        }
        read_at(path, self, 0, &mut start, "the first bytes")?;
        match is_lfs_pointer(&start) {
            false => Ok(()),
            true => Err(FileError::LfsPointer {
                path: path.to_path_buf(),
            }),
        }
    }
}

impl ReadAt for OpenFile {
    fn size(&self) -> u64 {
        self.len
    }

    #[cfg(unix)]
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buffer, offset)
    }

    #[cfg(not(unix))]
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        use std::io::{Read, Seek, SeekFrom};
        let mut file = self
            .file
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(buffer)
    }
}

/// Fills `buffer` from `offset` on; `what` names the bytes in the error.
pub(crate) fn read_at(
    path: &Path,
    input: &dyn ReadAt,
    offset: u64,
    buffer: &mut [u8],
    what: &str,
) -> Result<(), FileError> {
    input
        .read_exact_at(offset, buffer)
        .map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => FileError::Truncated {
                path: path.to_path_buf(),
                what: what.to_string(),
                offset,
                expected: buffer.len() as u64,
                found: input.size().saturating_sub(offset),
            },
            _ => FileError::io(path)(source),
        })
}
