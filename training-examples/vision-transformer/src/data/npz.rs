//! MedMNIST's archives (Yang et al. 2023, arXiv 2110.14795): six arrays in a zip file.
//!
//! `train_images`, `val_images` and `test_images` are u8 `[count, size, size]` or `[count, size, size, 3]`;
//! labels are whole numbers `[count, 1]`, or 0 and 1 `[count, classes]` where images have several (ChestMNIST).

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use npyz::{DType, Deserialize, NpyFile, Order};
use zip::ZipArchive;
use zip::result::ZipError;

use super::raw::{Raw, RawLabels, RawSplit};
use super::{DataError, Options, Source};

/// Largest array that is read, in bytes.
const LARGEST: u64 = 1 << 36;
/// What a label may be stored as.
const WHOLE: &str = "a whole number of at most 64 bits, little-endian";

type Archive = ZipArchive<BufReader<File>>;

/// Reads an archive.
pub(super) fn load(path: &Path, options: &Options) -> Result<Source, DataError> {
    let file = File::open(path).map_err(DataError::unreadable(path))?;
    let archive = ZipArchive::new(BufReader::new(file));
    let archive = archive.map_err(|error| DataError::damaged(path, error))?;
    let mut reader = Reader { path, archive };
    let train = reader.split("train")?;
    let valid = reader.split("val")?;
    let test = reader.split("test")?;
    Ok(Source {
        path: path.into(),
        classes: options.classes.clone(),
        train,
        valid,
        test,
    })
}

struct Reader<'a> {
    path: &'a Path,
    archive: Archive,
}

impl Reader<'_> {
    fn split(&mut self, name: &str) -> Result<RawSplit, DataError> {
        Ok(RawSplit {
            images: self.images(&format!("{name}_images"))?,
            labels: self.labels(&format!("{name}_labels"))?,
        })
    }

    fn images(&mut self, array: &str) -> Result<Raw, DataError> {
        let (shape, pixels) = self.array(array, |path, file| match file.dtype() {
            DType::Plain(kind) if kind.to_string() == "|u1" => values::<u8, u8>(path, file, array),
            found => Err(kind_error(path, array, &found, "u8 (|u1)")),
        })?;
        let (count, size, channels) = match shape[..] {
            [count, height, width] if height == width => (count, height, 1),
            [count, height, width, 3] if height == width => (count, height, 3),
            _ => {
                return Err(DataError::ArrayShape {
                    path: self.path.into(),
                    array: array.into(),
                    found: shape,
                    expected: "[count, size, size] or [count, size, size, 3]".into(),
                });
            }
        };
        Ok(Raw {
            size: size as usize,
            channels,
            count: count as usize,
            pixels,
        })
    }

    fn labels(&mut self, array: &str) -> Result<RawLabels, DataError> {
        let (shape, labels) = self.array(array, |path, file| {
            let found = file.dtype();
            let DType::Plain(kind) = &found else {
                return Err(kind_error(path, array, &found, WHOLE));
            };
            match kind.to_string().as_str() {
                "|u1" => values::<u8, i64>(path, file, array),
                "|i1" => values::<i8, i64>(path, file, array),
                "<u2" => values::<u16, i64>(path, file, array),
                "<i2" => values::<i16, i64>(path, file, array),
                "<u4" => values::<u32, i64>(path, file, array),
                "<i4" => values::<i32, i64>(path, file, array),
                "<i8" => values::<i64, i64>(path, file, array),
                _ => Err(kind_error(path, array, &found, WHOLE)),
            }
        })?;
        match shape[..] {
            [_] | [_, 1] => Ok(RawLabels::Single(labels)),
            [_, classes] if classes > 1 => Ok(RawLabels::Multi {
                classes: classes as usize,
                flags: labels,
            }),
            _ => Err(DataError::ArrayShape {
                path: self.path.into(),
                array: array.into(),
                found: shape,
                expected: "[count, 1] or [count, classes]".into(),
            }),
        }
    }

    /// Shape and values of an array, read by `read`.
    fn array<T>(
        &mut self,
        array: &str,
        read: impl FnOnce(&Path, NpyFile<Box<dyn Read + '_>>) -> Result<Vec<T>, DataError>,
    ) -> Result<(Vec<u64>, Vec<T>), DataError> {
        let path = self.path;
        let entry = self.archive.by_name(&format!("{array}.npy"));
        let entry = entry.map_err(|error| match error {
            ZipError::FileNotFound => DataError::NoArray {
                path: path.into(),
                array: array.into(),
            },
            error => DataError::damaged(path, format!("{array}: {error}")),
        })?;
        let entry: Box<dyn Read + '_> = Box::new(entry.take(LARGEST));
        let file = NpyFile::new(entry);
        let file = file.map_err(|error| DataError::damaged(path, format!("{array}: {error}")))?;
        let shape = file.shape().to_vec();
        let bytes = shape
            .iter()
            .try_fold(8u64, |bytes, &size| bytes.checked_mul(size));
        if bytes.is_none_or(|bytes| bytes > LARGEST) || file.order() != Order::C {
            return Err(DataError::ArrayShape {
                path: path.into(),
                array: array.into(),
                found: shape,
                expected: format!("one of {LARGEST} bytes at most, in C order"),
            });
        }
        let values = read(path, file)?;
        Ok((shape, values))
    }
}

/// The values of an array, as the file has them. Memory grows with what is read, not with what is promised.
fn values<F, T>(
    path: &Path,
    file: NpyFile<Box<dyn Read + '_>>,
    array: &str,
) -> Result<Vec<T>, DataError>
where
    F: Deserialize,
    T: From<F>,
{
    let damaged =
        |error: &dyn ToString| DataError::damaged(path, format!("{array}: {}", error.to_string()));
    let values = file.data::<F>().map_err(|error| damaged(&error))?;
    let mut read = Vec::new();
    for value in values {
        read.push(T::from(value.map_err(|error| damaged(&error))?));
    }
    Ok(read)
}

fn kind_error(path: &Path, array: &str, found: &DType, expected: &'static str) -> DataError {
    DataError::ArrayType {
        path: path.into(),
        array: array.into(),
        found: found.descr(),
        expected,
    }
}
