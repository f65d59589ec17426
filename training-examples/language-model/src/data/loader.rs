//! The batches of a training and of a validation, step by step.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::data::dataloader::{DataLoader, DataLoaderIterator};
use burn::tensor::Device;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use training_run::{Counted, Steps, shuffled};

use super::{Conversation, Shard, TokenBatch, Tokens};

/// The batches of steps.
pub trait StepSource: Send + Sync {
    /// The part `shard` of the batch of `step`, counted from 1: always the same.
    fn batch(&self, step: usize, shard: Shard, device: &Device) -> TokenBatch;
}

/// Random windows of a text that is longer than the context.
pub struct Windows {
    /// The text.
    pub text: Tokens,
    /// Which windows.
    pub plan: Plan,
}

impl StepSource for Windows {
    fn batch(&self, step: usize, shard: Shard, device: &Device) -> TokenBatch {
        let starts = self.plan.starts(step, self.text.len());
        let own = &starts[shard.range(starts.len())];
        let batch = TokenBatch::new(&self.text, own, self.plan.context, step, device);
        batch.as_part(shard, starts.len())
    }
}

/// Conversations in random orders: all of them in one, then all in another.
pub struct Talks {
    /// At least one.
    pub talks: Arc<[Conversation]>,
    /// Which orders.
    pub plan: Plan,
}

impl StepSource for Talks {
    fn batch(&self, step: usize, shard: Shard, device: &Device) -> TokenBatch {
        let order = self.plan.order(step, self.talks.len());
        let talks = order.iter().map(|&index| &self.talks[index]);
        let weight = talks.clone().map(Conversation::learned).sum();
        let own = &order[shard.range(order.len())];
        let own = own.iter().map(|&index| &self.talks[index]);
        TokenBatch::of_talks(own, step, device).as_part(shard, weight)
    }
}

/// The batches of a training.
///
/// Burn resumes a training at an epoch and does not save the state of a shuffle. So an epoch here
/// is a number of steps, and the windows of a step follow from the seed and the step alone: a
/// resumed training sees what an unbroken one would have seen.
///
/// Several devices [divide](Self::divided) every step. An item is what one device does in one step, and
/// those of the first device come first: Burn gives each device a slice of equal length, which is its part
/// of every step. So all devices do the same steps, whatever the batch divides into.
pub struct TrainLoader {
    source: Arc<dyn StepSource>,
    plan: Plan,
    /// The epoch that the next call to `iter` gives.
    epoch: AtomicUsize,
    /// The steps of each epoch that this loader gives, counted from 0.
    part: Range<usize>,
    /// Parts that each step is divided into.
    devices: usize,
    /// The parts of each step that this loader gives.
    shards: Range<usize>,
    device: Device,
}

/// What decides the windows of every step.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Seed of the whole training.
    pub seed: u64,
    /// Windows a step.
    pub batch_size: usize,
    /// Tokens a window.
    pub context: usize,
    /// All steps.
    pub steps: Steps,
}

impl Plan {
    /// Where the windows of a step begin, in a text of `length` tokens.
    fn starts(&self, step: usize, length: usize) -> Vec<usize> {
        // Seeds side by side give unrelated streams: `seed_from_u64` hashes them.
        let mut rng = StdRng::seed_from_u64(self.seed ^ (step as u64).rotate_left(32));
        (0..self.batch_size)
            .map(|_| rng.random_range(0..length - self.context))
            .collect()
    }

    /// The items of a step, of `count`.
    fn order(&self, step: usize, count: usize) -> Vec<usize> {
        shuffled(self.seed, step, self.batch_size, count)
    }
}

impl TrainLoader {
    /// Gives the batches from `epoch` on, counted from 1.
    pub fn new(source: Arc<dyn StepSource>, plan: Plan, epoch: usize, device: Device) -> Self {
        let part = 0..plan.steps.after(1);
        let epoch = AtomicUsize::new(epoch);
        Self {
            source,
            plan,
            epoch,
            part,
            devices: 1,
            shards: 0..1,
            device,
        }
    }

    /// The same, with each step divided between `devices`.
    pub fn divided(self, devices: usize) -> Self {
        Self {
            devices,
            shards: 0..devices,
            ..self
        }
    }

    /// What the device `index` does in `step`, counted from 1, on `device`.
    pub fn batch(&self, step: usize, index: usize, device: &Device) -> TokenBatch {
        let count = self.devices;
        self.source.batch(step, Shard { index, count }, device)
    }

    fn with(&self, shards: Range<usize>, part: Range<usize>, device: Device) -> Self {
        let epoch = AtomicUsize::new(self.epoch.load(Ordering::Relaxed));
        Self {
            source: self.source.clone(),
            plan: self.plan,
            epoch,
            part,
            devices: self.devices,
            shards,
            device,
        }
    }
}

impl DataLoader<TokenBatch> for TrainLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<TokenBatch> + 'a> {
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed);
        let steps = self.plan.steps.of(epoch);
        let steps = steps.start + self.part.start..steps.end.min(steps.start + self.part.end);
        let total = self.shards.len() * steps.len();
        let items = self
            .shards
            .clone()
            .flat_map(move |index| steps.clone().map(move |step| (index, step)));
        let batches = items.map(|(index, step)| self.batch(step, index, &self.device));
        Box::new(Counted::new(batches, total))
    }

    fn num_items(&self) -> usize {
        self.shards.len() * self.part.len()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<TokenBatch>> {
        let (shards, part) = (self.shards.clone(), self.part.clone());
        Arc::new(self.with(shards, part, device.clone()))
    }

    /// Items `start..end`: some of one device, or all of some devices.
    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<TokenBatch>> {
        let length = self.part.len().max(1);
        let first = self.shards.start + start / length;
        let (shards, part) = match (start % length, end % length) {
            (0, 0) => (first..self.shards.start + end / length, self.part.clone()),
            (from, _) => {
                let to = (from + end.saturating_sub(start)).min(length);
                (
                    first..first + 1,
                    self.part.start + from..self.part.start + to,
                )
            }
        };
        Arc::new(self.with(shards, part, self.device.clone()))
    }
}

/// Windows spread evenly over the held-out text, the same each time.
pub struct ValidLoader {
    text: Tokens,
    starts: Vec<usize>,
    batch_size: usize,
    context: usize,
    device: Device,
}

impl ValidLoader {
    /// At most `windows` windows that do not overlap, in batches of equal size.
    ///
    /// `text` is longer than the context.
    pub fn new(
        text: Tokens,
        windows: usize,
        batch_size: usize,
        context: usize,
        device: Device,
    ) -> Self {
        let room = (text.len() - 1) / context;
        let batch_size = batch_size.min(room);
        // Batches of one size weigh the same in a mean over batches.
        let count = (windows.min(room) / batch_size).max(1) * batch_size;
        let starts = (0..count)
            .map(|index| index * room / count * context)
            .collect();
        Self {
            text,
            starts,
            batch_size,
            context,
            device,
        }
    }

    fn with(&self, starts: Vec<usize>, device: Device) -> Self {
        Self {
            text: self.text.clone(),
            starts,
            device,
            batch_size: self.batch_size,
            context: self.context,
        }
    }

    /// Every token that is to be predicted.
    pub fn targets(&self) -> Vec<u32> {
        let windows = self.starts.iter();
        windows
            .flat_map(|start| self.text.window(start + 1, self.context))
            .collect()
    }
}

impl DataLoader<TokenBatch> for ValidLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<TokenBatch> + 'a> {
        let batches = self
            .starts
            .chunks(self.batch_size)
            .map(|starts| TokenBatch::new(&self.text, starts, self.context, 0, &self.device));
        Box::new(Counted::new(batches, self.num_items()))
    }

    fn num_items(&self) -> usize {
        self.starts.len() / self.batch_size
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<TokenBatch>> {
        Arc::new(self.with(self.starts.clone(), device.clone()))
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<TokenBatch>> {
        let windows = start * self.batch_size..end.min(self.num_items()) * self.batch_size;
        Arc::new(self.with(self.starts[windows].to_vec(), self.device.clone()))
    }
}

/// Held-out conversations, in their order.
pub struct TalkLoader {
    talks: Arc<[Conversation]>,
    batch_size: usize,
    device: Device,
}

impl TalkLoader {
    /// All of `talks`, in batches of at most `batch_size`.
    pub fn new(talks: Arc<[Conversation]>, batch_size: usize, device: Device) -> Self {
        Self {
            talks,
            batch_size,
            device,
        }
    }
}

impl DataLoader<TokenBatch> for TalkLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<TokenBatch> + 'a> {
        let batches = self
            .talks
            .chunks(self.batch_size)
            .map(|talks| TokenBatch::of_talks(talks.iter(), 0, &self.device));
        Box::new(Counted::new(batches, self.num_items()))
    }

    fn num_items(&self) -> usize {
        self.talks.len().div_ceil(self.batch_size)
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<TokenBatch>> {
        Arc::new(Self::new(
            self.talks.clone(),
            self.batch_size,
            device.clone(),
        ))
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<TokenBatch>> {
        let end = (end * self.batch_size).min(self.talks.len());
        let some = self.talks[start * self.batch_size..end].into();
        Arc::new(Self::new(some, self.batch_size, self.device.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan {
        seed: 7,
        batch_size: 3,
        context: 5,
        steps: Steps { all: 7, epoch: 3 },
    };

    fn text() -> Tokens {
        Tokens::of_bytes(&(0..=255).collect::<Vec<u8>>())
    }

    fn loader(epoch: usize, device: &Device) -> TrainLoader {
        let windows = Windows {
            text: text(),
            plan: PLAN,
        };
        TrainLoader::new(Arc::new(windows), PLAN, epoch, device.clone())
    }

    #[test]
    fn every_conversation_comes_once_before_one_comes_again() {
        // Seven in steps of three: the third step ends one order and begins another.
        let steps: Vec<usize> = (1..=14).flat_map(|step| PLAN.order(step, 7)).collect();
        for pass in steps.chunks_exact(7) {
            let mut pass = pass.to_vec();
            pass.sort_unstable();
            assert_eq!(pass, [0, 1, 2, 3, 4, 5, 6]);
        }
        assert_ne!(steps[..7], steps[7..14]);
        assert_eq!(PLAN.order(2, 2).len(), 3);
    }

    fn epoch(loader: &TrainLoader) -> Vec<(usize, Vec<i64>)> {
        let batches = loader.iter().map(Result::unwrap);
        batches
            .map(|b| (b.step, b.inputs.into_data().iter().collect()))
            .collect()
    }

    #[test]
    fn a_loader_begun_at_a_later_epoch_gives_what_an_unbroken_one_gives() {
        let device = crate::test_device();
        let unbroken = loader(1, &device);
        let epochs: Vec<_> = (0..PLAN.steps.epochs()).map(|_| epoch(&unbroken)).collect();
        assert_eq!(epochs.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 1]);
        assert_eq!(epochs[2][0].0, 7);
        let resumed = loader(2, &device).to_device(&device);
        let batches: Vec<_> = resumed.iter().map(|b| b.unwrap().step).collect();
        assert_eq!(batches, [4, 5, 6]);
        assert_eq!(epoch(&loader(3, &device)), epochs[2]);
        assert_ne!(epochs[0][0].1, epochs[0][1].1);
    }

    #[test]
    fn the_slices_of_a_loader_together_give_what_it_gives() {
        let device = crate::test_device();
        let train = loader(2, &device);
        let valid = ValidLoader::new(text(), 12, 4, 20, device);
        let inputs = |loader: &dyn DataLoader<TokenBatch>| -> Vec<Vec<i64>> {
            loader
                .iter()
                .map(|b| b.unwrap().inputs.into_data().iter().collect())
                .collect()
        };
        let halves = |loader: &dyn DataLoader<TokenBatch>| {
            [inputs(&*loader.slice(0, 2)), inputs(&*loader.slice(2, 3))].concat()
        };
        assert_eq!(halves(&train), inputs(&train));
        assert_eq!(halves(&valid), inputs(&valid));
        assert_eq!(train.slice(1, 3).num_items(), 2);
    }

    #[test]
    fn devices_divide_every_step_and_together_see_what_one_sees() {
        let device = crate::test_device();
        let whole = epoch(&loader(1, &device));
        let divided = loader(1, &device).divided(2);
        assert_eq!(divided.num_items(), 6);
        let slices = [divided.slice(0, 3), divided.slice(3, 6)].map(|slice| {
            let batches: Vec<_> = slice.iter().map(Result::unwrap).collect();
            assert!(batches.iter().all(|batch| batch.step_weight == 3));
            batches
        });
        assert_eq!(slices[0][0].windows(), 2);
        assert_eq!(
            (slices[1][0].shard.index, slices[1][0].share()),
            (1, 1.0 / 3.0)
        );
        let both = slices[0].iter().zip(&slices[1]);
        for ((step, inputs), (first, second)) in whole.iter().zip(both) {
            assert_eq!((first.step, second.step), (*step, *step));
            let parts = [first, second].map(|b| b.inputs.to_data().iter().collect::<Vec<i64>>());
            assert_eq!(parts.concat(), *inputs);
        }
        assert_eq!(
            divided.iter().count(),
            6,
            "all of it, one device after the other"
        );
    }

    #[test]
    fn another_seed_gives_other_windows_all_within_the_text() {
        let other = Plan { seed: 8, ..PLAN };
        assert_ne!(PLAN.starts(1, 256), other.starts(1, 256));
        // One start only is left.
        assert_eq!(PLAN.starts(1, 6), [0, 0, 0]);
    }

    #[test]
    fn validation_windows_do_not_overlap_and_fill_equal_batches() {
        let device = crate::test_device();
        let loader = ValidLoader::new(text(), 10, 4, 25, device.clone());
        let sizes: Vec<_> = loader.iter().map(|b| b.unwrap().inputs.dims()).collect();
        assert_eq!(sizes, [[4, 25], [4, 25]]);
        let mut targets = loader.targets();
        targets.dedup();
        assert_eq!(targets.len(), 8 * 25);
        assert!(targets.is_sorted());
        // A text of barely one window.
        let short = Tokens::of_bytes(&(0..26).collect::<Vec<u8>>());
        assert_eq!(
            ValidLoader::new(short, 10, 4, 25, device).targets().len(),
            25
        );
    }
}
