//! Images and labels in, batches out, in an order that follows from the seed and the step.

mod augment;
mod batch;
mod error;
mod folder;
mod idx;
mod loader;
mod npz;
mod order;
mod raw;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use training_run::RunData;
use training_run::hash::Fnv;
use tritburn_models::vision::{Labelling, Picture, VisionConfig};

pub use augment::{AugmentConfig, Mixing};
pub use batch::{Batcher, ImageBatch};
pub use error::DataError;
pub use idx::FASHION_MNIST;
pub use loader::{TestLoader, TrainLoader};
pub use order::Plan;
pub use raw::{Labels, Raw};
use raw::{RawLabels, RawSplit};

/// What is wanted of data.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Height and width that the images of folders are resized to; those of archives have it already.
    pub image_size: Option<usize>,
    /// Channels of the images of folders: 3 if not given.
    pub channels: Option<usize>,
    /// Names of the classes, where the data do not tell.
    pub classes: Option<Vec<String>>,
    /// Train on so many images only, drawn by `seed`.
    pub subset: Option<usize>,
    /// What decides which.
    pub seed: u64,
}

/// What was read, before it is checked.
struct Source {
    path: PathBuf,
    classes: Option<Vec<String>>,
    train: RawSplit,
    valid: RawSplit,
    test: RawSplit,
}

/// Images and their labels.
#[derive(Clone, Debug)]
pub struct Split {
    /// The images.
    pub images: Arc<Raw>,
    /// The label of each.
    pub labels: Labels,
}

impl Split {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.images.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An image as models take it.
    pub fn picture(&self, index: usize) -> Picture {
        Picture {
            size: self.images.size,
            channels: self.images.channels,
            pixels: self.images.image(index).to_vec(),
        }
    }

    /// How much an image is of each class: 0 or 1.
    pub fn target(&self, index: usize, classes: usize) -> Vec<f32> {
        match &self.labels {
            Labels::Single(labels) => {
                let own = labels[index] as usize;
                (0..classes).map(|class| f32::from(class == own)).collect()
            }
            Labels::Multi(flags) => {
                let own = &flags[index * classes..][..classes];
                own.iter().map(|&flag| f32::from(flag)).collect()
            }
        }
    }
}

/// Images to train on, to choose by, and to test on.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Where it came from.
    pub source: PathBuf,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Whether images have one of them.
    pub labelling: Labelling,
    /// To train on.
    pub train: Split,
    /// Held out while training.
    pub valid: Split,
    /// For the end.
    pub test: Split,
    fingerprint: u64,
}

impl Dataset {
    /// Reads data: a folder of idx files, an `.npz` archive, a folder of classes; Fashion-MNIST where Debian's
    /// package installs it if there is no path.
    ///
    /// # Errors
    /// [`DataError`], naming file and array.
    pub fn load(path: Option<&Path>, options: &Options) -> Result<Self, DataError> {
        let fashion = Path::new(FASHION_MNIST);
        let path = match path {
            Some(path) => path,
            None if idx::is_folder(fashion) => fashion,
            None => {
                return Err(DataError::NoFashion {
                    path: fashion.into(),
                });
            }
        };
        let archive = path.extension().is_some_and(|end| end == "npz");
        let about = std::fs::metadata(path).map_err(DataError::unreadable(path))?;
        let source = match about.is_dir() {
            false if archive => npz::load(path, options)?,
            true if idx::is_folder(path) => idx::load(path, options)?,
            true if folder::is_folder(path) => {
                return Self::check(folder::load(path, options)?, options);
            }
            _ => {
                return Err(DataError::Unknown { path: path.into() });
            }
        };
        let found = source.train.images.size;
        if let Some(asked) = options.image_size.filter(|asked| *asked != found) {
            return Err(DataError::Size {
                path: path.into(),
                found,
                asked,
            });
        }
        Self::check(source, options)
    }

    /// Checks what was read and takes a part of it, if asked for.
    fn check(source: Source, options: &Options) -> Result<Self, DataError> {
        let Source {
            path,
            classes,
            mut train,
            valid,
            test,
        } = source;
        for (split, part) in [("train", &train), ("val", &valid), ("test", &test)] {
            let (images, labels) = (part.images.count, part.labels.count());
            if images != labels {
                return Err(DataError::Counts {
                    path,
                    split,
                    images,
                    labels,
                });
            }
        }
        if let Some(needed) = options.subset {
            let found = train.images.count;
            if found < needed {
                return Err(DataError::TooFew {
                    path,
                    split: "train",
                    found,
                    needed,
                });
            }
            let mut order: Vec<usize> = (0..found).collect();
            order.shuffle(&mut StdRng::seed_from_u64(options.seed));
            train = train.pick(&order[..needed]);
        }
        let names = Names::of(&path, classes, &train.labels)?;
        let fingerprint = [&train, &valid, &test]
            .into_iter()
            .fold(Fnv::default(), add);
        let check = |part, split| names.check(&path, split, part);
        Ok(Self {
            train: check(train, "train")?,
            valid: check(valid, "val")?,
            test: check(test, "test")?,
            labelling: names.labelling,
            classes: names.classes,
            source: path,
            fingerprint: fingerprint.finish(),
        })
    }

    /// A model's configuration with the images and classes of these data.
    pub fn describe(&self, sizes: VisionConfig) -> VisionConfig {
        let channels = self.train.images.channels;
        VisionConfig {
            image_size: self.train.images.size,
            num_channels: channels,
            labels: self.classes.clone(),
            labelling: self.labelling,
            mean: vec![0.5; channels],
            std: vec![0.5; channels],
            ..sizes
        }
    }
}

/// Adds a split to a checksum.
fn add(sum: Fnv, split: &RawSplit) -> Fnv {
    let labels = match &split.labels {
        RawLabels::Single(labels) => labels,
        RawLabels::Multi { flags, .. } => flags,
    };
    let labels: Vec<u8> = labels
        .iter()
        .flat_map(|label| label.to_le_bytes())
        .collect();
    sum.chain(&split.images.pixels).chain(&labels)
}

/// The classes that labels may name.
struct Names {
    classes: Vec<String>,
    labelling: Labelling,
}

impl Names {
    /// Those given, or numbers up to the largest label.
    fn of(path: &Path, given: Option<Vec<String>>, train: &RawLabels) -> Result<Self, DataError> {
        let (found, labelling) = match train {
            RawLabels::Multi { classes, .. } => (*classes, Labelling::Multi),
            RawLabels::Single(labels) => {
                let largest = labels.iter().max().copied().unwrap_or(-1);
                // A label that no class can have is told with its place.
                ((largest.clamp(-1, 1 << 16) + 1) as usize, Labelling::Single)
            }
        };
        let classes = given.unwrap_or_else(|| (0..found).map(|class| class.to_string()).collect());
        if labelling == Labelling::Multi && classes.len() != found {
            return Err(DataError::ArrayShape {
                path: path.into(),
                array: "train_labels".into(),
                found: vec![found as u64],
                expected: format!("a column for each of {} classes", classes.len()),
            });
        }
        let names = Self { classes, labelling };
        let mut seen = vec![false; names.classes.len()];
        match train {
            RawLabels::Single(labels) => {
                for (index, &label) in labels.iter().enumerate() {
                    seen[names.number(path, "train", index, label)?] = true;
                }
            }
            RawLabels::Multi { flags, .. } => {
                for row in flags.chunks(seen.len()) {
                    for (seen, &flag) in seen.iter_mut().zip(row) {
                        *seen |= flag != 0;
                    }
                }
            }
        }
        match seen.iter().position(|seen| !seen) {
            Some(empty) => Err(DataError::EmptyClass {
                path: path.into(),
                class: names.classes[empty].clone(),
            }),
            None => Ok(names),
        }
    }

    /// The number of a class, if it is one.
    fn number(
        &self,
        path: &Path,
        split: &'static str,
        index: usize,
        label: i64,
    ) -> Result<usize, DataError> {
        let number = usize::try_from(label).ok();
        let number = number.filter(|number| *number < self.classes.len());
        number.ok_or_else(|| DataError::Label {
            path: path.into(),
            split,
            index,
            found: label,
            last: self.classes.len().saturating_sub(1),
        })
    }

    fn check(&self, path: &Path, split: &'static str, part: RawSplit) -> Result<Split, DataError> {
        if part.images.count == 0 {
            return Err(DataError::TooFew {
                path: path.into(),
                split,
                found: 0,
                needed: 1,
            });
        }
        let labels = match part.labels {
            RawLabels::Single(labels) if self.labelling == Labelling::Single => {
                let numbers = labels.iter().enumerate();
                let numbers = numbers.map(|(index, &label)| {
                    self.number(path, split, index, label)
                        .map(|number| number as u32)
                });
                Labels::Single(numbers.collect::<Result<_, _>>()?)
            }
            RawLabels::Multi { classes, flags }
                if self.labelling == Labelling::Multi && classes == self.classes.len() =>
            {
                let flags = flags.iter().enumerate().map(|(index, &flag)| match flag {
                    0 | 1 => Ok(flag == 1),
                    found => Err(DataError::Label {
                        path: path.into(),
                        split,
                        index: index / classes,
                        found,
                        last: 1,
                    }),
                });
                Labels::Multi(flags.collect::<Result<_, _>>()?)
            }
            other => {
                let found = match other {
                    RawLabels::Single(_) => 1,
                    RawLabels::Multi { classes, .. } => classes as u64,
                };
                return Err(DataError::ArrayShape {
                    path: path.into(),
                    array: format!("{split}_labels"),
                    found: vec![part.images.count as u64, found],
                    expected: "as many columns as train_labels".into(),
                });
            }
        };
        Ok(Split {
            images: Arc::new(part.images),
            labels,
        })
    }
}

/// What `data.json` says of the images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataRecord {
    source: PathBuf,
    classes: Vec<String>,
    labelling: Labelling,
    image_size: usize,
    channels: usize,
    train: usize,
    valid: usize,
    test: usize,
    fingerprint: String,
}

impl From<&Dataset> for DataRecord {
    fn from(data: &Dataset) -> Self {
        Self {
            source: data.source.clone(),
            classes: data.classes.clone(),
            labelling: data.labelling,
            image_size: data.train.images.size,
            channels: data.train.images.channels,
            train: data.train.len(),
            valid: data.valid.len(),
            test: data.test.len(),
            fingerprint: format!("{:016x}", data.fingerprint),
        }
    }
}

impl RunData for DataRecord {
    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}
