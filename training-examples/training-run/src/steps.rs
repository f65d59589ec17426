//! The steps of a training, and what each of them reads.

use std::ops::Range;

use burn::data::dataloader::{DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// How many steps a training has.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// In all.
    pub all: usize,
    /// In an epoch, which to Burn is what lies between two checkpoints.
    pub epoch: usize,
}

impl Steps {
    /// Number of epochs; the last may be shorter.
    pub fn epochs(self) -> usize {
        self.all.div_ceil(self.epoch)
    }

    /// The steps of an epoch, both counted from 1.
    pub fn of(self, epoch: usize) -> Range<usize> {
        let first = (epoch - 1) * self.epoch + 1;
        first..(first + self.epoch).min(self.all + 1)
    }

    /// Steps that are done when so many epochs are.
    pub fn after(self, epochs: usize) -> usize {
        (epochs * self.epoch).min(self.all)
    }
}

/// The items of a step of `batch_size`, of `count` that come all in one random order, then all in another.
pub fn shuffled(seed: u64, step: usize, batch_size: usize, count: usize) -> Vec<usize> {
    let first = (step - 1) * batch_size;
    let mut items = Vec::with_capacity(batch_size);
    while items.len() < batch_size {
        let (pass, within) = ((first + items.len()) / count, (first + items.len()) % count);
        // Seeds side by side give unrelated streams: `seed_from_u64` hashes them.
        let mut rng = StdRng::seed_from_u64(seed ^ (pass as u64 + 1).rotate_left(32));
        let mut order: Vec<usize> = (0..count).collect();
        order.shuffle(&mut rng);
        let room = batch_size - items.len();
        items.extend(order[within..].iter().take(room));
    }
    items
}

/// Batches with the progress that Burn asks for; an item is a batch.
pub struct Counted<I> {
    batches: I,
    done: usize,
    total: usize,
}

impl<I> Counted<I> {
    /// All of `batches`, `total` of them.
    pub fn new(batches: I, total: usize) -> Self {
        Self {
            batches,
            done: 0,
            total,
        }
    }
}

impl<I: Iterator> Iterator for Counted<I> {
    type Item = Result<I::Item, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next()?;
        self.done += 1;
        Some(Ok(batch))
    }
}

impl<I: Iterator> DataLoaderIterator<I::Item> for Counted<I> {
    fn progress(&self) -> Progress {
        Progress::new(self.done, self.total, Some("steps".into()))
    }
}
