//! What is watched during training.

use std::sync::Arc;

use burn::tensor::TensorReadError;
use burn::train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};

use tritburn::stats::{CodeCounts, CodeShares};

use super::trainee::StepReport;

/// A number read off every step and averaged over an epoch.
#[derive(Clone)]
pub struct StepMetric {
    name: MetricName,
    unit: Option<&'static str>,
    decimals: usize,
    /// The number itself, where the step has it.
    read: fn(&StepReport) -> Result<Option<f64>, TensorReadError>,
    /// What to show of a number or of a mean of numbers.
    show: fn(f64) -> f64,
    last: Option<f64>,
    sum: f64,
    count: usize,
}

/// Name of the loss.
pub(super) const LOSS: &str = "Loss";

/// Cross-entropy in nats a token.
pub fn loss() -> StepMetric {
    StepMetric::new(LOSS, None, 4, read_loss, |mean| mean)
}

/// e to the power of the loss: between how many tokens the model still hesitates.
pub fn perplexity() -> StepMetric {
    StepMetric::new("Perplexity", None, 3, read_loss, f64::exp)
}

/// Share of weights that are zero.
pub fn zero_share() -> StepMetric {
    let read = |report: &StepReport| Ok(read_shares(report)?.map(|shares| shares.zero));
    StepMetric::new("Zero weights", Some("%"), 2, read, |share| 100.0 * share)
}

/// Share of weights whose code a step changed.
pub fn flip_share() -> StepMetric {
    let read = |report: &StepReport| Ok(read_shares(report)?.map(|shares| shares.flipped));
    StepMetric::new("Code flips", Some("%"), 3, read, |share| 100.0 * share)
}

/// Norm of all gradients of the step before, ahead of clipping.
pub fn gradient_norm() -> StepMetric {
    StepMetric::new("Gradient norm", None, 3, read_gradient_norm, |mean| mean)
}

fn read_gradient_norm(report: &StepReport) -> Result<Option<f64>, TensorReadError> {
    let norm = report.gradient_norm.clone();
    norm.map(|norm| norm.try_into_scalar::<f64>()).transpose()
}

fn read_loss(report: &StepReport) -> Result<Option<f64>, TensorReadError> {
    report.loss.clone().try_into_scalar::<f64>().map(Some)
}

fn read_shares(report: &StepReport) -> Result<Option<CodeShares>, TensorReadError> {
    let counts = report.counts.clone();
    Ok(counts.map(CodeCounts::read).transpose()?)
}

impl StepMetric {
    fn new(
        name: &str,
        unit: Option<&'static str>,
        decimals: usize,
        read: fn(&StepReport) -> Result<Option<f64>, TensorReadError>,
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

impl Metric for StepMetric {
    type Input = StepReport;

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        let unit = self.unit.map(String::from);
        NumericAttributes {
            unit,
            higher_is_better: false,
        }
        .into()
    }

    fn update(
        &mut self,
        report: &StepReport,
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

impl Numeric for StepMetric {
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

#[cfg(test)]
mod tests {
    use burn::data::dataloader::Progress;
    use burn::module::Param;
    use burn::tensor::{Device, Tensor};
    use tritburn::BitLinearConfig;
    use tritburn::stats::CodeWatch;

    use super::*;

    fn update(metric: &mut StepMetric, loss: f32, counts: Option<CodeCounts>) -> SerializedEntry {
        let loss = Tensor::from_floats([loss], &Device::default());
        let progress = Progress::new(1, 2, None);
        let metadata = MetricMetadata {
            progress,
            iteration: None,
            lr: None,
        };
        let report = StepReport {
            step: 1,
            loss,
            counts,
            gradient_norm: None,
        };
        metric.update(&report, &metadata).unwrap()
    }

    #[test]
    fn the_perplexity_of_an_epoch_is_that_of_its_mean_loss() {
        let mut metric = perplexity();
        update(&mut metric, 1.0, None);
        assert_eq!(
            update(&mut metric, 3.0, None).formatted,
            "epoch 7.389 - batch 20.086"
        );
        assert!((metric.final_value().current() - 2f64.exp()).abs() < 1e-12);
        metric.clear();
        assert!(metric.value().is_none() && metric.running_value().is_none());
    }

    #[test]
    fn shares_are_shown_in_percent_and_steps_without_them_are_left_out() {
        let device = Device::default();
        let mut layer = BitLinearConfig::new(2, 2).init(&device);
        layer.weight = Param::from_data([[1.0, 0.0], [-1.0, 1.0]], &device);
        let watch = CodeWatch::new(&layer).unwrap();
        let before = watch.codes(&layer).unwrap();
        layer.weight = Param::from_data([[1.0, 0.0], [1.0, -1.0]], &device);
        let counts = watch.compare(&before, &watch.codes(&layer).unwrap());

        let mut zeros = zero_share();
        assert!(update(&mut zeros, 1.0, None).is_not_available());
        let entry = update(&mut zeros, 1.0, counts.clone());
        assert_eq!(entry.formatted, "epoch 25.00% - batch 25.00%");
        let entry = update(&mut flip_share(), 1.0, counts);
        assert_eq!(entry.formatted, "epoch 50.000% - batch 50.000%");
    }
}
