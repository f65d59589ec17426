//! Learning rate and weight decay of each step.

use std::f64::consts::PI;

use training_run::RateSchedule;

/// The two stages in which 1.58-bit models are trained (BitNet b1.58 2B4T, arXiv 2504.12285,
/// section 3.1): a high learning rate with a growing weight decay, then, from the middle on, a lower
/// rate and none. High rates serve a ternary model longer than a float one, because only a large
/// step carries a latent weight over the edge between two codes.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Steps in all.
    pub steps: usize,
    /// Steps of linear rise at the start.
    pub warmup_steps: usize,
    /// Peak of the first stage, which falls to half of it.
    pub learning_rate: f64,
    /// Peak of the second stage, which falls to zero.
    pub second_learning_rate: f64,
    /// Weight decay at the end of the first stage.
    pub weight_decay: f64,
}

impl RateSchedule for Schedule {
    fn learning_rate(&self, step: usize) -> f64 {
        let middle = self.middle();
        if step <= self.warmup_steps.min(middle) {
            self.learning_rate * step as f64 / self.warmup_steps as f64
        } else if step <= middle {
            let falling = share(step, self.warmup_steps, middle);
            self.learning_rate * (1.0 + half_cosine(falling)) / 2.0
        } else {
            // The last step still moves: the share ends one short of 1.
            self.second_learning_rate * half_cosine(share(step - 1, middle, self.steps))
        }
    }

    fn weight_decay(&self, step: usize) -> f64 {
        let middle = self.middle();
        if step > middle {
            0.0
        } else {
            self.weight_decay * (1.0 - half_cosine(share(step, 0, middle)))
        }
    }
}

impl Schedule {
    fn middle(&self) -> usize {
        self.steps / 2
    }
}

/// How far `step` is from `from` to `to`.
fn share(step: usize, from: usize, to: usize) -> f64 {
    step.saturating_sub(from) as f64 / to.saturating_sub(from).max(1) as f64
}

/// From 1 at 0 to 0 at 1.
fn half_cosine(share: f64) -> f64 {
    (1.0 + (PI * share).cos()) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule = Schedule {
        steps: 200,
        warmup_steps: 20,
        learning_rate: 4.0,
        second_learning_rate: 1.0,
        weight_decay: 0.1,
    };

    #[test]
    fn the_rate_rises_falls_to_half_drops_in_the_middle_and_ends_near_zero() {
        let rates = [1, 10, 20, 60, 100, 101, 150, 200].map(|step| SCHEDULE.learning_rate(step));
        let expected = [0.2, 2.0, 4.0, 3.0, 2.0, 1.0, 0.515_705_4, 0.000_246_720];
        for (rate, expected) in rates.into_iter().zip(expected) {
            assert!((rate - expected).abs() < 1e-6, "{rates:?}");
        }
    }

    #[test]
    fn weight_decay_rises_through_the_first_half_and_is_gone_in_the_second() {
        assert!(SCHEDULE.weight_decay(1) < 1e-4);
        assert!((SCHEDULE.weight_decay(50) - 0.05).abs() < 1e-12);
        assert!((SCHEDULE.weight_decay(100) - 0.1).abs() < 1e-12);
        assert_eq!(SCHEDULE.weight_decay(101), 0.0);
    }

    #[test]
    fn every_step_of_a_training_of_any_length_has_a_rate() {
        for steps in 1..70 {
            let schedule = Schedule { steps, ..SCHEDULE };
            for step in 1..=steps {
                let rate = schedule.learning_rate(step);
                assert!(rate > 0.0 && rate <= 4.0, "{rate} at {step} of {steps}");
            }
        }
    }
}
