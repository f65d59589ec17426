//! The batches of a training and of a validation, step by step.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};

use burn::data::dataloader::{DataLoader, DataLoaderIterator};
use burn::tensor::Device;
use training_run::Counted;

use super::batch::Batcher;
use super::{ImageBatch, Plan};

/// Batches that are made ahead of their step.
const AHEAD: usize = 3;

/// The batches of a training.
///
/// Burn resumes a training at an epoch and does not save the state of a shuffle. So an epoch here is a number
/// of steps, and the images of a step follow from the seed and the step alone: a resumed training sees what an
/// unbroken one would have seen. Batches are made on a thread of their own, while the step before is computed.
pub struct TrainLoader {
    batcher: Arc<Batcher>,
    plan: Plan,
    /// The epoch that the next call to `iter` gives.
    epoch: AtomicUsize,
    /// The steps of each epoch that this loader gives, counted from 0.
    part: Range<usize>,
    device: Device,
}

impl TrainLoader {
    /// Gives the batches from `epoch` on, counted from 1.
    pub fn new(batcher: Arc<Batcher>, plan: Plan, epoch: usize, device: Device) -> Self {
        Self {
            batcher,
            plan,
            epoch: AtomicUsize::new(epoch),
            part: 0..plan.steps.after(1),
            device,
        }
    }

    fn with(&self, part: Range<usize>, device: Device) -> Self {
        Self {
            batcher: self.batcher.clone(),
            plan: self.plan,
            epoch: AtomicUsize::new(self.epoch.load(Ordering::Relaxed)),
            part,
            device,
        }
    }
}

impl DataLoader<ImageBatch> for TrainLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<ImageBatch> + 'a> {
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed);
        let steps = self.plan.steps.of(epoch);
        let steps = steps.start + self.part.start..steps.end.min(steps.start + self.part.end);
        let total = steps.len();
        let (sender, batches) = sync_channel(AHEAD);
        let (batcher, plan, device) = (self.batcher.clone(), self.plan, self.device.clone());
        std::thread::spawn(move || {
            for step in steps {
                // Nobody listens to a training that was stopped.
                if sender.send(batcher.step(&plan, step, &device)).is_err() {
                    return;
                }
            }
        });
        Box::new(Counted::new(Ahead(batches), total))
    }

    fn num_items(&self) -> usize {
        self.part.len()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<ImageBatch>> {
        Arc::new(self.with(self.part.clone(), device.clone()))
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<ImageBatch>> {
        let part = self.part.start + start..(self.part.start + end).min(self.part.end);
        Arc::new(self.with(part, self.device.clone()))
    }
}

/// Batches that another thread makes.
struct Ahead(Receiver<ImageBatch>);

impl Iterator for Ahead {
    type Item = ImageBatch;

    fn next(&mut self) -> Option<ImageBatch> {
        self.0.recv().ok()
    }
}

/// The images of a split, once and in their order.
pub struct TestLoader {
    batcher: Arc<Batcher>,
    images: Range<usize>,
    batch_size: usize,
    device: Device,
}

impl TestLoader {
    /// All images of the split, or the first `most`, in batches of `batch_size`.
    pub fn new(batcher: Arc<Batcher>, most: usize, batch_size: usize, device: Device) -> Self {
        let count = batcher.split.len().min(most);
        // Batches of one size weigh the same in a mean over batches.
        let whole = count / batch_size * batch_size;
        Self {
            images: 0..if whole > 0 { whole } else { count },
            batcher,
            batch_size,
            device,
        }
    }

    fn with(&self, images: Range<usize>, device: Device) -> Self {
        Self {
            batcher: self.batcher.clone(),
            images,
            batch_size: self.batch_size,
            device,
        }
    }
}

impl DataLoader<ImageBatch> for TestLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<ImageBatch> + 'a> {
        let starts = self.images.clone().step_by(self.batch_size);
        let batches = starts.map(|start| {
            let indices: Vec<usize> =
                (start..self.images.end.min(start + self.batch_size)).collect();
            self.batcher.plain(&indices, &self.device)
        });
        Box::new(Counted::new(batches, self.num_items()))
    }

    fn num_items(&self) -> usize {
        self.images.len().div_ceil(self.batch_size)
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<ImageBatch>> {
        Arc::new(self.with(self.images.clone(), device.clone()))
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<ImageBatch>> {
        let at = |batch: usize| (self.images.start + batch * self.batch_size).min(self.images.end);
        Arc::new(self.with(at(start)..at(end), self.device.clone()))
    }
}
