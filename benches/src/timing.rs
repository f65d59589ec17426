//! Medians of repeated calls.

use std::time::{Duration, Instant};

use burn::tensor::Device;

/// How long and how often to measure.
pub struct Plan {
    warm_up: usize,
    samples: usize,
    sample_time: Duration,
}

/// Median and spread of one call, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Median over the samples of the mean call.
    pub us: f64,
    /// Half the distance between the quartiles.
    pub spread_us: f64,
}

impl Plan {
    /// The full plan, or a short one.
    pub fn new(quick: bool) -> Self {
        let (samples, ms) = if quick { (3, 5) } else { (21, 100) };
        Self {
            warm_up: 3,
            samples,
            sample_time: Duration::from_millis(ms),
        }
    }

    /// Times `call(i)` for ever growing `i`, so that it can walk through copies of its weights.
    pub fn time(&self, device: &Device, mut call: impl FnMut(usize)) -> Timing {
        let mut next = 0;
        let mut run = |calls: usize| {
            let start = Instant::now();
            for _ in 0..calls {
                call(next);
                next += 1;
            }
            device.sync().expect("the device finishes its queue");
            start.elapsed()
        };
        run(self.warm_up);
        let once = run(self.warm_up).as_secs_f64() / self.warm_up as f64;
        let calls = (self.sample_time.as_secs_f64() / once).ceil().max(1.0) as usize;
        let mut samples: Vec<f64> = (0..self.samples)
            .map(|_| run(calls).as_secs_f64() * 1e6 / calls as f64)
            .collect();
        samples.sort_by(f64::total_cmp);
        let at = |share: f64| samples[((samples.len() - 1) as f64 * share).round() as usize];
        Timing {
            us: at(0.5),
            spread_us: (at(0.75) - at(0.25)) / 2.0,
        }
    }
}
