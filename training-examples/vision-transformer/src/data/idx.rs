//! The idx files of MNIST and its kin, plain or gzipped.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use super::raw::{Raw, RawLabels, RawSplit};
use super::{DataError, Options, Source};

/// Where Debian's package `dataset-fashion-mnist` installs Fashion-MNIST.
pub const FASHION_MNIST: &str = "/usr/share/datasets/fashion-mnist";

/// Classes of Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747).
const FASHION_CLASSES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// Largest file that is read, in bytes once unpacked.
const LARGEST: u64 = 1 << 32;
/// One image in so many of those to train on is held out: there is no set for it.
const HELD_OUT: usize = 12;

/// Whether a folder has the file that all of them need.
pub(super) fn is_folder(folder: &Path) -> bool {
    find(folder, "train-images-idx3-ubyte").is_some()
}

/// Reads the four files of a folder.
pub(super) fn load(folder: &Path, options: &Options) -> Result<Source, DataError> {
    let train = split(folder, "train")?;
    let test = split(folder, "t10k")?;
    let (train, valid) = train.hold_out(HELD_OUT);
    let classes = options.classes.clone();
    let fashion = folder.to_string_lossy().to_lowercase().contains("fashion");
    let classes = classes.or_else(|| fashion.then(|| FASHION_CLASSES.map(String::from).to_vec()));
    Ok(Source {
        path: folder.into(),
        classes,
        train,
        valid,
        test,
    })
}

fn split(folder: &Path, name: &str) -> Result<RawSplit, DataError> {
    let images = file(folder, &format!("{name}-images-idx3-ubyte"))?;
    let labels = file(folder, &format!("{name}-labels-idx1-ubyte"))?;
    let ([count, height, width], pixels) = read::<3>(&images)?;
    if height != width || height == 0 {
        let reason = format!("images of {height} x {width}: square ones are expected");
        return Err(DataError::damaged(&images, reason));
    }
    let (_, labels) = read::<1>(&labels)?;
    Ok(RawSplit {
        images: Raw {
            size: height,
            channels: 1,
            count,
            pixels,
        },
        labels: RawLabels::Single(labels.into_iter().map(i64::from).collect()),
    })
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let names = [name.to_string(), format!("{name}.gz")];
    let mut paths = names.iter().map(|name| folder.join(name));
    paths.find(|path| path.is_file())
}

fn file(folder: &Path, name: &str) -> Result<PathBuf, DataError> {
    find(folder, name).ok_or_else(|| DataError::Unreadable {
        path: folder.join(name),
        reason: std::io::ErrorKind::NotFound.into(),
    })
}

/// Dimensions and bytes of an idx file of unsigned bytes.
fn read<const D: usize>(path: &Path) -> Result<([usize; D], Vec<u8>), DataError> {
    let file = BufReader::new(File::open(path).map_err(DataError::unreadable(path))?);
    let packed = path.extension().is_some_and(|end| end == "gz");
    let mut reader: Box<dyn Read> = match packed {
        true => Box::new(GzDecoder::new(file)),
        false => Box::new(file),
    };
    let mut number = || {
        let mut bytes = [0; 4];
        let read = reader.read_exact(&mut bytes);
        read.map_err(|error| DataError::damaged(path, format!("its header: {error}")))?;
        Ok(u32::from_be_bytes(bytes))
    };
    let (magic, expected) = (number()?, 0x0800 | D as u32);
    if magic != expected {
        let reason = format!("it begins with {magic:#010x}, not with {expected:#010x}");
        return Err(DataError::damaged(path, reason));
    }
    let mut dims = [0; D];
    for dim in &mut dims {
        *dim = number()? as usize;
    }
    let length = dims
        .iter()
        .try_fold(1u64, |product, &dim| product.checked_mul(dim as u64));
    let length = length.filter(|length| *length <= LARGEST);
    let length = length.ok_or_else(|| {
        DataError::damaged(path, format!("{dims:?} are more than {LARGEST} bytes"))
    })?;
    // One more than there should be, to see that there is no more.
    let mut bytes = Vec::new();
    let read = reader.take(length + 1).read_to_end(&mut bytes);
    read.map_err(|error| DataError::damaged(path, error))?;
    match bytes.len() as u64 == length {
        true => Ok((dims, bytes)),
        false => {
            let found = match bytes.len() as u64 > length {
                true => "more".to_string(),
                false => bytes.len().to_string(),
            };
            let reason = format!("{dims:?} are {length} bytes, and it has {found}");
            Err(DataError::damaged(path, reason))
        }
    }
}
