//! Folders of images: a folder a class, within `train`, `val` and `test` or without.

use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use tritburn_models::vision::{Fit, Picture, VisionError};

use super::raw::{Raw, RawLabels, RawSplit};
use super::{DataError, Options, Source};

/// One image in so many is held out, and one is tested on, where folders do not say.
const HELD_OUT: usize = 10;

/// Images and the class of each.
struct Listed {
    classes: Vec<String>,
    images: Vec<(PathBuf, usize)>,
}

/// Whether a folder has folders.
pub(super) fn is_folder(folder: &Path) -> bool {
    folders(folder).is_ok_and(|folders| !folders.is_empty())
}

/// Reads all images of a folder.
pub(super) fn load(folder: &Path, options: &Options) -> Result<Source, DataError> {
    let train = folder.join("train");
    let whole = !train.is_dir();
    let listed = list(if whole { folder } else { &train }, None)?;
    let shape = Shape::of(folder, &listed, options)?;
    let train = shape.read(&listed.images)?;
    let named = |names: &[&str]| {
        let mut paths = names.iter().map(|name| folder.join(name));
        let Some(path) = paths.find(|path| !whole && path.is_dir()) else {
            return Ok(None);
        };
        let listed = list(&path, Some(&listed.classes))?;
        shape.read(&listed.images).map(Some)
    };
    let (valid, test) = (named(&["val", "valid"])?, named(&["test"])?);
    let (train, test) = match test {
        Some(test) => (train, test),
        None => train.hold_out(HELD_OUT),
    };
    let (train, valid) = match valid {
        Some(valid) => (train, valid),
        None => train.hold_out(HELD_OUT),
    };
    Ok(Source {
        path: folder.into(),
        classes: Some(listed.classes),
        train,
        valid,
        test,
    })
}

/// What all images become.
struct Shape {
    size: usize,
    channels: usize,
    fit: Fit,
}

impl Shape {
    fn of(folder: &Path, listed: &Listed, options: &Options) -> Result<Self, DataError> {
        let channels = options.channels.unwrap_or(3);
        if let Some(size) = options.image_size {
            let fit = Fit::Convert;
            return Ok(Self {
                size,
                channels,
                fit,
            });
        }
        let Some((first, _)) = listed.images.first() else {
            return Err(DataError::TooFew {
                path: folder.into(),
                split: "train",
                found: 0,
                needed: 1,
            });
        };
        let size = image::image_dimensions(first).map_err(|error| {
            DataError::Image(VisionError::Decode {
                path: first.clone(),
                reason: error.to_string(),
            })
        })?;
        Ok(Self {
            size: size.0 as usize,
            channels,
            fit: Fit::Exact,
        })
    }

    fn read(&self, images: &[(PathBuf, usize)]) -> Result<RawSplit, DataError> {
        let read = |(path, _): &(PathBuf, usize)| {
            let picture = Picture::open(path, self.channels, self.size, self.fit);
            Ok(picture.map_err(DataError::Image)?.pixels)
        };
        let pixels: Result<Vec<Vec<u8>>, DataError> = images.par_iter().map(read).collect();
        Ok(RawSplit {
            images: Raw {
                size: self.size,
                channels: self.channels,
                count: images.len(),
                pixels: pixels?.concat(),
            },
            labels: RawLabels::Single(images.iter().map(|(_, class)| *class as i64).collect()),
        })
    }
}

/// The images of each class, of the first, the second, the third and so on in turn: what is cut off is of all.
fn list(folder: &Path, known: Option<&[String]>) -> Result<Listed, DataError> {
    let mut classes = Vec::new();
    let mut images = Vec::new();
    for path in folders(folder)? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let class = match known {
            None => classes.len(),
            Some(known) => known
                .iter()
                .position(|known| *known == name)
                .ok_or_else(|| DataError::UnknownClass { path: path.clone() })?,
        };
        let files = files(&path)?;
        if files.is_empty() && known.is_none() {
            return Err(DataError::EmptyClass {
                path: folder.into(),
                class: name,
            });
        }
        let numbered = files.into_iter().enumerate();
        images.extend(numbered.map(|(number, file)| (number, class, file)));
        classes.push(name);
    }
    images.sort();
    let images = images.into_iter().map(|(_, class, file)| (file, class));
    Ok(Listed {
        classes,
        images: images.collect(),
    })
}

/// The folders in a folder, by name.
fn folders(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    entries(folder, |path| path.is_dir())
}

/// The PNG and JPEG files in a folder, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    entries(folder, |path| {
        let end = path
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        path.is_file() && ["png", "jpg", "jpeg"].contains(&end.as_str())
    })
}

fn entries(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, DataError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::unreadable(folder))? {
        let path = entry.map_err(DataError::unreadable(folder))?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && wanted(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
