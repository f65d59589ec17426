//! Medians of repeated calls.

use std::time::{Duration, Instant};

use anyhow::Result;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

/// How long and how often to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    warm_up: usize,
    samples: usize,
    sample_time: Duration,
}

/// Median and spread of one call, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Median over the samples of the mean call.
    pub us: f64,
    /// Half the distance between the quartiles.
    pub spread_us: f64,
    /// What the clock was read around.
    pub method: Method,
}

/// What the clock was read around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// Replays of a device graph that holds many calls.
    Graph,
    /// Batches of calls from the host, the cost of launching them included.
    Host,
}

impl Method {
    /// As the JSON names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Graph => "graph",
            Self::Host => "host",
        }
    }
}

impl Timing {
    /// Median and half the interquartile range of `samples` (microseconds a call, not empty).
    fn of(mut samples: Vec<f64>, method: Method) -> Self {
        samples.sort_by(f64::total_cmp);
        let at = |share: f64| samples[((samples.len() - 1) as f64 * share).round() as usize];
        Self {
            us: at(0.5),
            spread_us: (at(0.75) - at(0.25)) / 2.0,
            method,
        }
    }
}

impl Plan {
    /// The full plan for layers on a CPU, or a short one.
    pub fn new(quick: bool) -> Self {
        let (samples, ms) = if quick { (3, 5) } else { (21, 100) };
        Self {
            warm_up: 3,
            samples,
            sample_time: Duration::from_millis(ms),
        }
    }

    /// The full plan for a GPU, whose calls vary less, or a short one.
    pub fn gpu(quick: bool) -> Self {
        let (samples, ms) = if quick { (5, 2) } else { (21, 8) };
        Self {
            warm_up: 2,
            samples,
            sample_time: Duration::from_millis(ms),
        }
    }

    /// How long one sample should take.
    #[cfg_attr(not(feature = "cube"), allow(dead_code))]
    pub fn sample_time(&self) -> Duration {
        self.sample_time
    }

    /// Times `call(i)` for ever growing `i`, so that it can walk through copies of its weights.
    pub fn time(&self, device: &Device, mut call: impl FnMut(usize)) -> Timing {
        let sync = || device.sync().expect("the device finishes its queue");
        let call = |i| {
            call(i);
            Ok(())
        };
        self.host(sync, call).expect("these calls do not fail")
    }

    /// As [`time`](Self::time) for calls that can fail; `sync` waits for those that were made.
    ///
    /// # Errors
    /// The first error of a call.
    pub fn host(
        &self,
        mut sync: impl FnMut(),
        mut call: impl FnMut(usize) -> Result<()>,
    ) -> Result<Timing> {
        let mut next = 0;
        self.batches(self.warm_up, Method::Host, |calls| {
            let start = Instant::now();
            for _ in 0..calls {
                call(next)?;
                next += 1;
            }
            sync();
            Ok(start.elapsed())
        })
    }

    /// Medians of `run(count)`, which gives the time of `count` repetitions: `first` unmeasured
    /// ones, `first` to find out how many make a sample, then the samples.
    ///
    /// # Errors
    /// The first error of a run.
    pub fn batches(
        &self,
        first: usize,
        method: Method,
        mut run: impl FnMut(usize) -> Result<Duration>,
    ) -> Result<Timing> {
        run(first)?;
        let once = (run(first)?.as_secs_f64() / first as f64).max(1e-9);
        let count = (self.sample_time.as_secs_f64() / once).ceil().max(1.0) as usize;
        let samples = (0..self.samples)
            .map(|_| Ok(run(count)?.as_secs_f64() * 1e6 / count as f64))
            .collect::<Result<_>>()?;
        Ok(Timing::of(samples, method))
    }

    /// This timing of `calls` calls as that of one.
    #[cfg_attr(not(feature = "cube"), allow(dead_code))]
    pub fn per_call(timing: Timing, calls: usize) -> Timing {
        Timing {
            us: timing.us / calls as f64,
            spread_us: timing.spread_us / calls as f64,
            ..timing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_one_slow_sample() {
        let timing = Timing::of(vec![3.0, 1.0, 1000.0, 2.0, 4.0], Method::Host);
        assert_eq!((timing.us, timing.spread_us), (3.0, 1.0));
        assert_eq!(Timing::of(vec![7.0], Method::Host).spread_us, 0.0);
    }

    #[test]
    fn a_sample_repeats_until_it_is_long_enough() {
        let plan = Plan::new(false);
        let mut counts = Vec::new();
        let timing = plan
            .batches(1, Method::Graph, |count| {
                counts.push(count);
                Ok(Duration::from_millis(count as u64))
            })
            .unwrap();
        assert_eq!(counts.len(), 2 + 21);
        assert_eq!(counts[5], 100);
        assert!((timing.us - 1000.0).abs() < 1e-9);
        assert!((Plan::per_call(timing, 10).us - 100.0).abs() < 1e-9);
    }
}
