//! What is watched during training.

use burn::tensor::TensorReadError;

use training_run::{LOSS, StepMetric};
use tritburn::stats::{CodeCounts, CodeShares};

use super::trainee::StepReport;

/// Cross-entropy in nats a token.
pub fn loss() -> StepMetric<StepReport> {
    StepMetric::new(LOSS, None, 4, read_loss, |mean| mean)
}

/// e to the power of the loss: between how many tokens the model still hesitates.
pub fn perplexity() -> StepMetric<StepReport> {
    StepMetric::new("Perplexity", None, 3, read_loss, f64::exp)
}

/// Share of weights that are zero.
pub fn zero_share() -> StepMetric<StepReport> {
    let read = |report: &StepReport| Ok(read_shares(report)?.map(|shares| shares.zero));
    StepMetric::new("Zero weights", Some("%"), 2, read, |share| 100.0 * share)
}

/// Share of weights whose code a step changed.
pub fn flip_share() -> StepMetric<StepReport> {
    let read = |report: &StepReport| Ok(read_shares(report)?.map(|shares| shares.flipped));
    StepMetric::new("Code flips", Some("%"), 3, read, |share| 100.0 * share)
}

/// Norm of all gradients of the step before, ahead of clipping.
pub fn gradient_norm() -> StepMetric<StepReport> {
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

#[cfg(test)]
mod tests {
    use burn::data::dataloader::Progress;
    use burn::module::Param;
    use burn::tensor::Tensor;
    use burn::train::metric::{Metric, MetricMetadata, Numeric, SerializedEntry};
    use tritburn::BitLinearConfig;
    use tritburn::stats::CodeWatch;

    use super::*;

    fn update(
        metric: &mut StepMetric<StepReport>,
        loss: f32,
        counts: Option<CodeCounts>,
    ) -> SerializedEntry {
        let loss = Tensor::from_floats([loss], &crate::test_device());
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
        let device = crate::test_device();
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
