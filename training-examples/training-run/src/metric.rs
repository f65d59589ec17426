//! A number that is watched during training.

use std::sync::Arc;

use burn::tensor::TensorReadError;
use burn::train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};

/// Name of the loss, by which the best checkpoint is chosen.
pub const LOSS: &str = "Loss";

/// A number read off every step and averaged over an epoch.
pub struct StepMetric<R> {
    name: MetricName,
    unit: Option<&'static str>,
    decimals: usize,
    /// The number itself, where the step has it.
    read: fn(&R) -> Result<Option<f64>, TensorReadError>,
    /// What to show of a number or of a mean of numbers.
    show: fn(f64) -> f64,
    last: Option<f64>,
    sum: f64,
    count: usize,
    higher_is_better: bool,
}

// Derived, this would ask for a report that can be cloned.
impl<R> Clone for StepMetric<R> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            ..*self
        }
    }
}

impl<R> StepMetric<R> {
    /// A metric called `name`, shown with `decimals` and `unit`: `read` takes the number from the report of a
    /// step, `show` says what is shown of a mean.
    pub fn new(
        name: &str,
        unit: Option<&'static str>,
        decimals: usize,
        read: fn(&R) -> Result<Option<f64>, TensorReadError>,
        show: fn(f64) -> f64,
    ) -> Self {
        let name = Arc::new(name.to_string());
        Self {
            name,
            unit,
            decimals,
            read,
            show,
            last: None,
            sum: 0.0,
            count: 0,
            higher_is_better: false,
        }
    }

    /// The same, better where it is higher.
    pub fn higher_is_better(self) -> Self {
        Self {
            higher_is_better: true,
            ..self
        }
    }

    fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| (self.show)(self.sum / self.count as f64))
    }

    fn entry(&self, serialized: Option<NumericEntry>) -> SerializedEntry {
        let (Some(mean), Some(last), Some(serialized)) = (self.mean(), self.last, serialized)
        else {
            return SerializedEntry::not_available(self.unit);
        };
        let (decimals, unit) = (self.decimals, self.unit.unwrap_or(""));
        let last = (self.show)(last);
        let formatted = format!("epoch {mean:.decimals$}{unit} - batch {last:.decimals$}{unit}");
        SerializedEntry::new(formatted, serialized.serialize())
    }
}

impl<R: 'static> Metric for StepMetric<R> {
    type Input = R;

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        let unit = self.unit.map(String::from);
        NumericAttributes {
            unit,
            higher_is_better: self.higher_is_better,
        }
        .into()
    }

    fn update(
        &mut self,
        report: &R,
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        self.last = (self.read)(report)?;
        if let Some(value) = self.last {
            self.sum += value;
            self.count += 1;
        }
        Ok(self.entry(self.value()))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self.entry(self.mean().map(NumericEntry::Final)))
    }

    fn clear(&mut self) {
        (self.last, self.sum, self.count) = (None, 0.0, 0);
    }
}

impl<R> Numeric for StepMetric<R> {
    fn value(&self) -> Option<NumericEntry> {
        self.last
            .map(|value| NumericEntry::Value((self.show)(value)))
    }

    fn running_value(&self) -> Option<NumericEntry> {
        self.mean().map(NumericEntry::Value)
    }

    fn final_value(&self) -> NumericEntry {
        NumericEntry::Final(self.mean().unwrap_or(f64::NAN))
    }
}
