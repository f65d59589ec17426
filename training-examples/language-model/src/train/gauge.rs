//! What is watched of the machine during training.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use burn::tensor::{Device, TensorReadError};
use burn::train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};
use tritburn::device::memory::peak_bytes;

use super::cost::Cost;
use super::trainee::StepReport;

/// Time that a number is the mean of, or that it is kept.
const INTERVAL: Duration = Duration::from_secs(2);

/// A number that is read off the machine now and then.
#[derive(Clone)]
pub struct Gauge {
    name: MetricName,
    unit: Option<&'static str>,
    decimals: usize,
    read: Arc<Mutex<Reader>>,
    latest: Option<f64>,
}

/// Gives a number when it has a new one.
type Reader = dyn FnMut() -> Option<f64> + Send;

/// Tokens a second.
pub fn speed(tokens_per_step: usize) -> Gauge {
    let mut clock = Clock::new(tokens_per_step);
    Gauge::new("Tokens per second", None, 0, move || clock.tick())
}

/// Model FLOP utilisation.
pub fn utilisation(tokens_per_step: usize, cost: Cost) -> Gauge {
    let mut clock = Clock::new(tokens_per_step);
    Gauge::new("MFU", Some("%"), 1, move || cost.utilisation(clock.tick()?))
}

/// Most memory that `device` has reserved so far, or the process on CPUs.
pub fn memory(device: &Device) -> Gauge {
    let device = device.clone();
    let mut due = Instant::now();
    Gauge::new("Memory", Some("GB"), 2, move || {
        if Instant::now() < due {
            return None;
        }
        due = Instant::now() + INTERVAL;
        peak_bytes(&device).map(|bytes| bytes as f64 * 1e-9)
    })
}

/// The speed of the latest steps.
struct Clock {
    tokens_per_step: usize,
    since: Instant,
    tokens: f64,
}

impl Clock {
    fn new(tokens_per_step: usize) -> Self {
        Self {
            tokens_per_step,
            since: Instant::now(),
            tokens: 0.0,
        }
    }

    /// Counts a report; gives the mean since the last number when an interval is over.
    fn tick(&mut self) -> Option<f64> {
        self.tokens += self.tokens_per_step as f64;
        let time = self.since.elapsed();
        if time < INTERVAL {
            return None;
        }
        let speed = self.tokens / time.as_secs_f64();
        (self.since, self.tokens) = (Instant::now(), 0.0);
        Some(speed)
    }
}

impl Gauge {
    fn new(
        name: &str,
        unit: Option<&'static str>,
        decimals: usize,
        read: impl FnMut() -> Option<f64> + Send + 'static,
    ) -> Self {
        Self {
            name: Arc::new(name.to_string()),
            unit,
            decimals,
            read: Arc::new(Mutex::new(read)),
            latest: None,
        }
    }

    fn read(&self) -> Option<f64> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read()
    }

    fn entry(&self) -> SerializedEntry {
        let Some(latest) = self.latest else {
            return SerializedEntry::not_available(self.unit);
        };
        let (decimals, unit) = (self.decimals, self.unit.unwrap_or(""));
        let formatted = format!("{latest:.decimals$}{unit}");
        SerializedEntry::new(formatted, NumericEntry::Value(latest).serialize())
    }
}

impl Metric for Gauge {
    type Input = StepReport;

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        let unit = self.unit.map(String::from);
        NumericAttributes {
            unit,
            higher_is_better: true,
        }
        .into()
    }

    fn update(
        &mut self,
        _report: &StepReport,
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        self.latest = self.read().or(self.latest);
        Ok(self.entry())
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self.entry())
    }

    // A new epoch changes nothing about the machine.
    fn clear(&mut self) {}
}

impl Numeric for Gauge {
    fn value(&self) -> Option<NumericEntry> {
        self.latest.map(NumericEntry::Value)
    }

    fn running_value(&self) -> Option<NumericEntry> {
        self.value()
    }

    fn final_value(&self) -> NumericEntry {
        NumericEntry::Final(self.latest.unwrap_or(f64::NAN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_speed_is_the_mean_of_an_interval() {
        let mut clock = Clock::new(1000);
        assert_eq!(clock.tick(), None, "no interval is over");
        clock.since -= Duration::from_secs(10);
        let speed = clock.tick().unwrap();
        assert!((199.0..=200.0).contains(&speed), "{speed}");
        assert_eq!(clock.tick(), None, "a new interval begins");
    }

    #[test]
    fn names_become_names_of_files() {
        let device = Device::default();
        let cost = Cost {
            per_token: 1.0,
            peak: None,
        };
        for gauge in [speed(1), utilisation(1, cost), memory(&device)] {
            assert!(!gauge.name.contains(['/', '\\']), "{}", gauge.name);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_is_told_with_the_first_report_and_kept() {
        let gauge = memory(&Device::default());
        let first = gauge.read();
        assert!(
            first.is_some_and(|gigabytes| gigabytes > 0.001),
            "{first:?}"
        );
        assert_eq!(gauge.read(), None);
    }
}
