//! Images and what they are, on a device.

use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor, TensorData};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;
use tritburn_models::vision::{Labelling, VisionConfig};

use super::augment::blend;
use super::{AugmentConfig, Plan, Split};
use crate::train::TeacherLogits;

/// Images of a step.
#[derive(Clone, Debug)]
pub struct ImageBatch {
    /// F32 `[batch, channels, size, size]`, normalised.
    pub images: Tensor<4>,
    /// How much each image is of each class, F32 `[batch, classes]`.
    pub targets: Tensor<2>,
    /// The same as a teacher sees it, at its temperature.
    pub taught: Option<Tensor<2>>,
    /// Step of the training that this batch is for, counted from 1; 0 in validation.
    pub step: usize,
}

/// What makes batches of a split.
#[derive(Clone, Debug)]
pub struct Batcher {
    /// Images and labels.
    pub split: Split,
    /// What the model takes.
    pub model: VisionConfig,
    /// How images are changed; `None` for as they are.
    pub augment: Option<AugmentConfig>,
    /// Share of every label that is given to all classes alike.
    pub smoothing: f32,
    /// A teacher's logits of each image, and the temperature that they are taken at.
    pub teacher: Option<(Arc<TeacherLogits>, f32)>,
}

/// What a generator of a step is for.
const CHANGE: u64 = 0;
const MIX: u64 = 1;

impl Batcher {
    /// The batch of a step, counted from 1: always the same.
    pub fn step(&self, plan: &Plan, step: usize, device: &Device) -> ImageBatch {
        let order = plan.order(step, self.split.len());
        let seed: u64 = plan.rng(step, CHANGE).random();
        let mut images = self.pixels(&order, seed);
        let mut targets: Vec<Vec<f32>> = order.iter().map(|&index| self.target(index)).collect();
        let mut taught = self.taught(&order);
        if let Some(augment) = &self.augment {
            let mix = augment.mix(self.model.image_size, &mut plan.rng(step, MIX));
            let kept = mix.kept();
            if kept < 1.0 {
                mix_all(&mut images, |values, other| mix.apply(values, other));
                mix_all(&mut targets, |values, other| blend(values, other, kept));
                if let Some(taught) = &mut taught {
                    mix_all(taught, |values, other| blend(values, other, kept));
                }
            }
        }
        self.batch(images, targets, taught, step, device)
    }

    /// Some images as they are.
    pub fn plain(&self, indices: &[usize], device: &Device) -> ImageBatch {
        let targets = indices.iter().map(|&index| {
            let classes = self.model.num_classes();
            self.split.target(index, classes)
        });
        self.batch(self.pixels(indices, 0), targets.collect(), None, 0, device)
    }

    fn batch(
        &self,
        images: Vec<Vec<f32>>,
        targets: Vec<Vec<f32>>,
        taught: Option<Vec<Vec<f32>>>,
        step: usize,
        device: &Device,
    ) -> ImageBatch {
        let [channels, height, width] = self.model.image_shape();
        let shape = [images.len(), channels, height, width];
        let rows = |rows: Vec<Vec<f32>>| {
            let shape = [rows.len(), self.model.num_classes()];
            Tensor::from_data(TensorData::new(rows.concat(), shape), (device, DType::F32))
        };
        let images = TensorData::new(images.concat(), shape);
        ImageBatch {
            images: Tensor::from_data(images, (device, DType::F32)),
            targets: rows(targets),
            taught: taught.map(rows),
            step,
        }
    }

    /// Normalised values of images, changed where they are to be.
    fn pixels(&self, indices: &[usize], seed: u64) -> Vec<Vec<f32>> {
        let raw = &self.split.images;
        let numbered = indices.par_iter().enumerate();
        numbered
            .map(|(place, &index)| {
                let pixels = raw.image(index);
                match &self.augment {
                    None => self.normalised(pixels),
                    Some(augment) => {
                        let mut rng = StdRng::seed_from_u64(seed.wrapping_add(place as u64));
                        let changed = augment.image(pixels, raw.size, raw.channels, &mut rng);
                        self.normalised(&changed)
                    }
                }
            })
            .collect()
    }

    fn normalised(&self, pixels: &[u8]) -> Vec<f32> {
        let channels = self.model.num_channels;
        let mut values = Vec::with_capacity(pixels.len());
        for (channel, (mean, std)) in self.model.mean.iter().zip(&self.model.std).enumerate() {
            let own = pixels.iter().skip(channel).step_by(channels);
            values.extend(own.map(|&pixel| (f32::from(pixel) / 255.0 - mean) / std));
        }
        values
    }

    /// The target of an image, smoothed (Szegedy et al. 2016, arXiv 1512.00567, section 7).
    fn target(&self, index: usize) -> Vec<f32> {
        let classes = self.model.num_classes();
        let mut target = self.split.target(index, classes);
        let even = match self.model.labelling {
            Labelling::Multi => 0.5,
            _ => 1.0 / classes as f32,
        };
        for value in &mut target {
            *value = (1.0 - self.smoothing) * *value + self.smoothing * even;
        }
        target
    }

    fn taught(&self, order: &[usize]) -> Option<Vec<Vec<f32>>> {
        let (logits, temperature) = self.teacher.as_ref()?;
        let rows = order.iter();
        let rows =
            rows.map(|&index| logits.probabilities(index, *temperature, self.model.labelling));
        Some(rows.collect())
    }
}

/// Mixes each row with the one after it, the last with the first.
fn mix_all(rows: &mut [Vec<f32>], mix: impl Fn(&mut [f32], &[f32])) {
    let others: Vec<Vec<f32>> = rows.to_vec();
    let count = rows.len();
    for (index, row) in rows.iter_mut().enumerate() {
        mix(row, &others[(index + 1) % count]);
    }
}
