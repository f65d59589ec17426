//! What is watched of the machine during training.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use burn::tensor::{Device, TensorReadError};
use burn::train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};
use tritburn::device::memory::peak_bytes;

/// Time that a number is the mean of, or that it is kept.
const INTERVAL: Duration = Duration::from_secs(2);

/// A number that is read off the machine now and then.
pub struct Gauge<R> {
    name: MetricName,
    unit: Option<&'static str>,
    decimals: usize,
    read: Arc<Mutex<Reader>>,
    latest: Option<f64>,
    report: PhantomData<fn(&R)>,
}

/// Gives a number when it has a new one.
type Reader = dyn FnMut() -> Option<f64> + Send;

/// The speed of the latest steps.
pub struct Clock {
    items_per_step: usize,
    since: Instant,
    items: f64,
}

impl Clock {
    /// Begins now, with steps of so many items.
    pub fn new(items_per_step: usize) -> Self {
        Self {
            items_per_step,
            since: Instant::now(),
            items: 0.0,
        }
    }

    /// Counts a report; gives the mean since the last number when an interval is over.
    pub fn tick(&mut self) -> Option<f64> {
        self.items += self.items_per_step as f64;
        let time = self.since.elapsed();
        if time < INTERVAL {
            return None;
        }
        let speed = self.items / time.as_secs_f64();
        (self.since, self.items) = (Instant::now(), 0.0);
        Some(speed)
    }
}

// Derived, this would ask for a report that can be cloned.
impl<R> Clone for Gauge<R> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            read: self.read.clone(),
            ..*self
        }
    }
}

impl<R> Gauge<R> {
    /// Items a second.
    pub fn speed(name: &str, items_per_step: usize) -> Self {
        let mut clock = Clock::new(items_per_step);
        Self::new(name, None, 0, move || clock.tick())
    }

    /// Most memory that `device` has reserved so far, or the process on CPUs.
    pub fn memory(device: &Device) -> Self {
        let device = device.clone();
        let mut due = Instant::now();
        Self::new("Memory", Some("GB"), 2, move || {
            if Instant::now() < due {
                return None;
            }
            due = Instant::now() + INTERVAL;
            peak_bytes(&device).map(|bytes| bytes as f64 * 1e-9)
        })
    }

    /// A gauge called `name`, shown with `decimals` and `unit`; `read` gives a number when it has a new one.
    pub fn new(
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
            report: PhantomData,
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

impl<R: 'static> Metric for Gauge<R> {
    type Input = R;

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
        _report: &R,
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

impl<R> Numeric for Gauge<R> {
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
    #[cfg(target_os = "linux")]
    fn memory_is_told_with_the_first_report_and_kept() {
        let gauge = Gauge::<()>::memory(&Device::default());
        let first = gauge.read();
        assert!(
            first.is_some_and(|gigabytes| gigabytes > 0.001),
            "{first:?}"
        );
        assert_eq!(gauge.read(), None);
    }
}
