//! Data that cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tritburn_models::vision::VisionError;

/// Why images cannot be trained on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// Fashion-MNIST is not where Debian's package installs it.
    #[error(
        "Fashion-MNIST is not at {}: `cargo xtask setup --data` installs Debian's package \
         dataset-fashion-mnist; elsewhere, --data names a folder with its four idx files",
        path.display()
    )]
    NoFashion {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file or folder cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        reason: io::Error,
    },
    /// A path that is no data of a known kind.
    #[error(
        "{} is no data: a folder of idx files, a folder of classes with images, or an .npz file is",
        path.display()
    )]
    Unknown {
        /// The path.
        path: PathBuf,
    },
    /// A file is not what its name says.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// An archive lacks an array.
    #[error("{} has no array {array}", path.display())]
    NoArray {
        /// The archive.
        path: PathBuf,
        /// Name of the array.
        array: String,
    },
    /// An array of another element type.
    #[error("{array} of {} has the type {found}, expected is {expected}", path.display())]
    ArrayType {
        /// The archive.
        path: PathBuf,
        /// Name of the array.
        array: String,
        /// Its type as NumPy writes it.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// An array of another shape.
    #[error("{array} of {} has the shape {found:?}, expected is {expected}", path.display())]
    ArrayShape {
        /// The archive.
        path: PathBuf,
        /// Name of the array.
        array: String,
        /// Its shape.
        found: Vec<u64>,
        /// What it may be.
        expected: String,
    },
    /// Images and labels in different numbers.
    #[error("{}: {images} images and {labels} labels in {split}", path.display())]
    Counts {
        /// The archive or folder.
        path: PathBuf,
        /// The split.
        split: &'static str,
        /// Number of images.
        images: usize,
        /// Number of labels.
        labels: usize,
    },
    /// A label that names no class.
    #[error("{}: image {index} of {split} has the label {found}, classes are 0 to {last}", path.display())]
    Label {
        /// The archive or folder.
        path: PathBuf,
        /// The split.
        split: &'static str,
        /// Number of the image.
        index: usize,
        /// Its label.
        found: i64,
        /// The last class.
        last: usize,
    },
    /// A class without images to learn it from.
    #[error("{}: class {class} has no images to train on", path.display())]
    EmptyClass {
        /// The archive or folder.
        path: PathBuf,
        /// Name of the class.
        class: String,
    },
    /// A folder of images that does not name the classes of its training images.
    #[error("{} is no class of the training images", path.display())]
    UnknownClass {
        /// The folder.
        path: PathBuf,
    },
    /// Fewer images than asked for, or none.
    #[error("{}: {found} images in {split}, {needed} are needed", path.display())]
    TooFew {
        /// The archive or folder.
        path: PathBuf,
        /// The split.
        split: &'static str,
        /// Number of images.
        found: usize,
        /// Number needed.
        needed: usize,
    },
    /// Images of another size than asked for, which only those of folders may be.
    #[error("{}: images of {found} pixels, asked for are {asked}: only folders of images are resized", path.display())]
    Size {
        /// The archive or folder.
        path: PathBuf,
        /// Height and width.
        found: usize,
        /// What was asked for.
        asked: usize,
    },
    /// An image cannot be used.
    #[error("{0}; --image-size resizes and converts images of folders")]
    Image(#[source] VisionError),
}

impl DataError {
    /// What a failure to read `path` becomes.
    pub(super) fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |reason| Self::Unreadable { path, reason }
    }

    /// A file that is not what it should be.
    pub(super) fn damaged(path: &Path, reason: impl ToString) -> Self {
        Self::Damaged {
            path: path.into(),
            reason: reason.to_string(),
        }
    }
}
