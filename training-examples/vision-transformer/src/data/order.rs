//! Which images a step has.

use rand::SeedableRng;
use rand::rngs::StdRng;
use training_run::{Steps, shuffled};

/// What decides the images of every step.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Seed of the whole training.
    pub seed: u64,
    /// Images a step.
    pub batch_size: usize,
    /// All steps.
    pub steps: Steps,
}

impl Plan {
    /// The images of a step, of `count` that come all in one random order, then all in another.
    pub fn order(&self, step: usize, count: usize) -> Vec<usize> {
        shuffled(self.seed, step, self.batch_size, count)
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
            steps: Steps { all: 10, epoch: 5 },
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
