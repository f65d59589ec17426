//! Which images a step has.

use std::ops::Range;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// What decides the images of every step.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Seed of the whole training.
    pub seed: u64,
    /// Images a step.
    pub batch_size: usize,
    /// Steps in all.
    pub steps: usize,
    /// Steps from one checkpoint to the next, which to Burn are an epoch.
    pub epoch_steps: usize,
}

impl Plan {
    /// Number of epochs; the last may be shorter.
    pub fn epochs(&self) -> usize {
        self.steps.div_ceil(self.epoch_steps)
    }

    /// The steps of an epoch, both counted from 1.
    pub fn steps_of(&self, epoch: usize) -> Range<usize> {
        let first = (epoch - 1) * self.epoch_steps + 1;
        first..(first + self.epoch_steps).min(self.steps + 1)
    }

    /// The images of a step, of `count` that come all in one random order, then all in another.
    pub fn order(&self, step: usize, count: usize) -> Vec<usize> {
        let first = (step - 1) * self.batch_size;
        let mut items = Vec::with_capacity(self.batch_size);
        while items.len() < self.batch_size {
            let (pass, within) = ((first + items.len()) / count, (first + items.len()) % count);
            let mut rng = StdRng::seed_from_u64(self.seed ^ (pass as u64 + 1).rotate_left(32));
            let mut order: Vec<usize> = (0..count).collect();
            order.shuffle(&mut rng);
            let room = self.batch_size - items.len();
            items.extend(order[within..].iter().take(room));
        }
        items
    }

    /// A generator of its own for `what` of a step.
    pub fn rng(&self, step: usize, what: u64) -> StdRng {
        StdRng::seed_from_u64(
            self.seed ^ (step as u64).rotate_left(32) ^ (what + 1).rotate_left(56),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_comes_once_before_any_comes_twice() {
        let plan = Plan {
            seed: 3,
            batch_size: 4,
            steps: 10,
            epoch_steps: 5,
        };
        let mut seen: Vec<usize> = (1..=7).flat_map(|step| plan.order(step, 14)).collect();
        assert_eq!(plan.order(3, 14), seen[8..12]);
        let (first, second) = seen.split_at_mut(14);
        assert_ne!(first, second);
        first.sort_unstable();
        second.sort_unstable();
        assert_eq!(first, (0..14).collect::<Vec<_>>());
        assert_eq!(first, second);
    }
}
