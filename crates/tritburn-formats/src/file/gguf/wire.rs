//! Bytes of a GGUF header: little-endian numbers, strings and counts.

use std::path::Path;

use crate::file::FileError;
use crate::file::input::{ReadAt, read_at};

/// Bytes of metadata and tensor list that are read at most. A tokenizer of 256k tokens has 10 MB.
const MAX_HEADER: u64 = 256 << 20;

/// Bytes that are fetched at once.
const WINDOW: u64 = 64 << 10;

/// A reader of the header that knows where it is.
pub(super) struct HeaderReader<'a> {
    path: &'a Path,
    input: &'a dyn ReadAt,
    offset: u64,
    window: Vec<u8>,
    window_start: u64,
}

impl<'a> HeaderReader<'a> {
    pub fn new(path: &'a Path, input: &'a dyn ReadAt) -> Self {
        Self {
            path,
            input,
            offset: 0,
            window: Vec::new(),
            window_start: 0,
        }
    }

    pub fn path(&self) -> &'a Path {
        self.path
    }

    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next `count` bytes.
    fn bytes(&mut self, count: u64, what: &str) -> Result<&[u8], FileError> {
        let left = self.input.size() - self.offset;
        if count > left {
            return Err(FileError::Truncated {
                path: self.path.to_path_buf(),
                what: what.to_string(),
                offset: self.offset,
                expected: count,
                found: left,
            });
        }
        let end = self.offset + count;
        if end > MAX_HEADER {
            return Err(FileError::limit(
                self.path,
                "the size of the header",
                end,
                MAX_HEADER,
            ));
        }
        if end > self.window_start + self.window.len() as u64 {
            let size = count.max(WINDOW).min(left) as usize;
            self.window.resize(size, 0);
            read_at(self.path, self.input, self.offset, &mut self.window, what)?;
            self.window_start = self.offset;
        }
        let start = (self.offset - self.window_start) as usize;
        self.offset = end;
        Ok(&self.window[start..start + count as usize])
    }

    /// The next value.
    pub fn take<T: FromWire>(&mut self, what: &str) -> Result<T, FileError> {
        T::take(self, what)
    }

    /// The next `count` values.
    pub fn take_many<T: FromWire>(&mut self, count: u64, what: &str) -> Result<Vec<T>, FileError> {
        self.check_count(count, T::MIN_BYTES, what)?;
        T::take_many(self, count, what)
    }

    /// Refuses a count of things that the rest of the file cannot hold.
    pub fn check_count(&self, count: u64, min_bytes: u64, what: &str) -> Result<u64, FileError> {
        let max = (self.input.size() - self.offset) / min_bytes;
        if count > max {
            let what = format!("the number of values in {what}");
            return Err(FileError::limit(self.path, what, count, max));
        }
        Ok(count)
    }
}

/// What can be read from a header.
pub(super) trait FromWire: Sized {
    /// Bytes of the shortest value.
    const MIN_BYTES: u64;

    fn take(reader: &mut HeaderReader, what: &str) -> Result<Self, FileError>;

    fn take_many(
        reader: &mut HeaderReader,
        count: u64,
        what: &str,
    ) -> Result<Vec<Self>, FileError> {
        (0..count).map(|_| Self::take(reader, what)).collect()
    }
}

/// What can be written into one.
pub(super) trait ToWire {
    fn write(&self, out: &mut Vec<u8>);
}

macro_rules! numbers {
    ($($t:ty),*) => {$(
        impl FromWire for $t {
            const MIN_BYTES: u64 = size_of::<$t>() as u64;

            fn take(reader: &mut HeaderReader, what: &str) -> Result<Self, FileError> {
                let bytes = reader.bytes(Self::MIN_BYTES, what)?;
                Ok(Self::from_le_bytes(bytes.try_into().unwrap_or_default()))
            }
        }

        impl ToWire for $t {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }
        }
    )*};
}
numbers!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);

impl FromWire for bool {
    const MIN_BYTES: u64 = 1;

    fn take(reader: &mut HeaderReader, what: &str) -> Result<Self, FileError> {
        let offset = reader.offset();
        match u8::take(reader, what)? {
            0 => Ok(false),
            1 => Ok(true),
            other => {
                let reason = format!("{what} has {other} for a boolean");
                Err(FileError::header(reader.path(), offset, reason))
            }
        }
    }
}

impl ToWire for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl FromWire for String {
    const MIN_BYTES: u64 = 8;

    fn take(reader: &mut HeaderReader, what: &str) -> Result<Self, FileError> {
        let len: u64 = reader.take(what)?;
        let (path, offset) = (reader.path(), reader.offset());
        let bytes = reader.bytes(len, what)?;
        let text = str::from_utf8(bytes).map_err(|e| {
            let reason = format!("{what} is not UTF-8: {e}");
            FileError::header(path, offset, reason)
        })?;
        Ok(text.to_string())
    }
}

impl ToWire for String {
    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as u64).write(out);
        out.extend(self.as_bytes());
    }
}
