//! Warm-up and a cosine.

use std::f64::consts::PI;

use training_run::RateSchedule;

/// A learning rate that rises in a line and falls as half a cosine (Loshchilov & Hutter 2017,
/// arXiv 1608.03983), step by step; one weight decay.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Steps in all.
    pub steps: usize,
    /// Steps of linear rise at the start.
    pub warmup_steps: usize,
    /// Peak.
    pub learning_rate: f64,
    /// Weight decay of all steps.
    pub weight_decay: f64,
}

impl RateSchedule for Schedule {
    fn learning_rate(&self, step: usize) -> f64 {
        let rise = self.warmup_steps.min(self.steps / 2);
        if step <= rise {
            return self.learning_rate * step as f64 / rise as f64;
        }
        // The last step still moves: the share ends one short of 1.
        let share = (step - 1 - rise) as f64 / (self.steps - rise).max(1) as f64;
        self.learning_rate * (1.0 + (PI * share.min(1.0)).cos()) / 2.0
    }

    fn weight_decay(&self, _step: usize) -> f64 {
        self.weight_decay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_to_its_peak_and_falls_to_nearly_nothing() {
        let schedule = Schedule {
            steps: 110,
            warmup_steps: 10,
            learning_rate: 2.0,
            weight_decay: 0.1,
        };
        let rates = [1, 10, 11, 61, 110].map(|step| schedule.learning_rate(step));
        let expected = [0.2, 2.0, 2.0, 1.0, 0.000_493_4];
        for (rate, expected) in rates.into_iter().zip(expected) {
            assert!((rate - expected).abs() < 1e-6, "{rates:?}");
        }
        // A training shorter than its warm-up still falls.
        let short = Schedule {
            steps: 4,
            ..schedule
        };
        assert!((1..=4).all(|step| short.learning_rate(step) > 0.0));
        assert!(short.learning_rate(4) < short.learning_rate(3));
    }
}
