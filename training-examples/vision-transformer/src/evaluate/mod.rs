//! A model measured on images that it has not seen.

mod auc;
mod scores;
mod speed;

pub use auc::auc;
pub use scores::{ClassScore, Scores};
pub use speed::{Speed, speed};

use std::sync::Arc;

use burn::tensor::{DType, Device};
use tritburn_models::VisionTransformer;
use tritburn_models::vision::VisionError;

use crate::data::{Batcher, Dataset, Split};
use crate::error::Error;

/// Images in a batch.
const BATCH: usize = 250;

/// What a model says of a split: logits `[images, classes]`.
#[derive(Clone, Debug)]
pub struct Answers {
    /// Number of classes.
    pub classes: usize,
    /// Row by row.
    pub logits: Vec<f32>,
}

impl Answers {
    /// Runs `model` on all images of a split.
    ///
    /// # Errors
    /// [`Error::OtherData`] is for [`check`]; here [`VisionError`], or a device that fails.
    pub fn of(model: &VisionTransformer, split: &Split, device: &Device) -> Result<Self, Error> {
        let batcher = Arc::new(Batcher {
            split: split.clone(),
            model: model.config().clone(),
            augment: None,
            smoothing: 0.0,
            teacher: None,
        });
        let mut logits = Vec::new();
        let order: Vec<usize> = (0..split.len()).collect();
        for indices in order.chunks(BATCH) {
            let batch = batcher.plain(indices, device);
            let found = model.logits(batch.images)?.cast(DType::F32);
            let found = found.try_into_vec_as::<f32>();
            logits.extend(found.map_err(|error| VisionError::Device {
                reason: error.to_string(),
            })?);
        }
        Ok(Self {
            classes: model.config().num_classes(),
            logits,
        })
    }

    /// Largest difference of a logit.
    pub fn difference(&self, other: &Self) -> f64 {
        let pairs = self.logits.iter().zip(&other.logits);
        // A NaN is the largest of all.
        pairs.fold(0.0, |most, (a, b)| match f64::from((a - b).abs()) {
            difference if difference <= most => most,
            difference => difference,
        })
    }

    /// The likeliest class of each image, the first of equals.
    pub fn guesses(&self) -> Vec<usize> {
        let rows = self.logits.chunks(self.classes);
        rows.map(|row| {
            (0..row.len()).fold(0, |best, class| match row[class] > row[best] {
                true => class,
                false => best,
            })
        })
        .collect()
    }
}

/// Refuses data that are not those of a model's kind.
///
/// # Errors
/// [`Error::OtherData`].
pub fn check(model: &VisionTransformer, data: &Dataset) -> Result<(), Error> {
    let config = model.config();
    let own = data.describe(config.clone());
    let same = own.image_shape() == config.image_shape() && own.labels == config.labels;
    if same && own.labelling == config.labelling {
        return Ok(());
    }
    let words = |config: &tritburn_models::vision::VisionConfig| {
        let (classes, shape) = (config.num_classes(), config.image_shape());
        format!(
            "{classes} classes {:?} in images of {shape:?}",
            config.labels
        )
    };
    Err(Error::OtherData {
        path: data.source.clone(),
        model: words(&own),
        expected: words(config),
    })
}
