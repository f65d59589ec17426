//! Images and labels as files have them, before they are checked.

use std::sync::Arc;

/// Images side by side, `[count, size, size, channels]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// Height and width.
    pub size: usize,
    /// 1 or 3.
    pub channels: usize,
    /// Number of images.
    pub count: usize,
    /// Their pixels.
    pub pixels: Vec<u8>,
}

impl Raw {
    /// Bytes of an image.
    pub fn stride(&self) -> usize {
        self.size * self.size * self.channels
    }

    /// The pixels of an image, row by row, channels side by side.
    pub fn image(&self, index: usize) -> &[u8] {
        &self.pixels[index * self.stride()..][..self.stride()]
    }

    /// Some of the images.
    fn pick(&self, indices: &[usize]) -> Self {
        let pixels = indices.iter().flat_map(|&index| self.image(index));
        Self {
            pixels: pixels.copied().collect(),
            count: indices.len(),
            ..*self
        }
    }
}

/// Labels of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawLabels {
    /// One class each.
    Single(Vec<i64>),
    /// A 0 or 1 for each class, `[count, classes]`.
    Multi {
        /// Number of classes.
        classes: usize,
        /// The values.
        flags: Vec<i64>,
    },
}

impl RawLabels {
    /// Number of images.
    pub fn count(&self) -> usize {
        match self {
            Self::Single(labels) => labels.len(),
            Self::Multi { classes, flags } => flags.len() / (*classes).max(1),
        }
    }

    fn pick(&self, indices: &[usize]) -> Self {
        match self {
            Self::Single(labels) => {
                Self::Single(indices.iter().map(|&index| labels[index]).collect())
            }
            Self::Multi { classes, flags } => Self::Multi {
                classes: *classes,
                flags: indices
                    .iter()
                    .flat_map(|&index| &flags[index * classes..][..*classes])
                    .copied()
                    .collect(),
            },
        }
    }
}

/// Images and labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawSplit {
    /// The images.
    pub images: Raw,
    /// As many labels.
    pub labels: RawLabels,
}

impl RawSplit {
    /// Some of the images, if they have labels.
    pub fn pick(&self, indices: &[usize]) -> Self {
        Self {
            images: self.images.pick(indices),
            labels: self.labels.pick(indices),
        }
    }

    /// All but one image in `every`, and those.
    pub fn hold_out(self, every: usize) -> (Self, Self) {
        if self.images.count != self.labels.count() {
            // Told as what it is where counts are checked.
            return (self.clone(), self);
        }
        let (mut kept, mut held) = (Vec::new(), Vec::new());
        for index in 0..self.images.count {
            match index % every == every - 1 {
                true => held.push(index),
                false => kept.push(index),
            }
        }
        (self.pick(&kept), self.pick(&held))
    }
}

/// Labels that have been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Labels {
    /// The class of each image.
    Single(Arc<[u32]>),
    /// Whether an image has a class, `[count, classes]`.
    Multi(Arc<[bool]>),
}
