//! What is watched during training.

use burn::tensor::Tensor;
use burn::tensor::TensorReadError;
use training_run::{LOSS, StepMetric};

use super::trainee::StepReport;

/// Name of the accuracy.
pub(super) const ACCURACY: &str = "Accuracy";

/// The loss that is lowered; of held-out images, their cross entropy in nats.
pub fn loss() -> StepMetric<StepReport> {
    let read = |report: &StepReport| read(Some(&report.loss));
    StepMetric::new(LOSS, None, 4, read, |mean| mean)
}

/// Share of labels that were guessed.
pub fn accuracy() -> StepMetric<StepReport> {
    let read = |report: &StepReport| read(report.correct.as_ref());
    StepMetric::new(ACCURACY, Some("%"), 2, read, |share| 100.0 * share).higher_is_better()
}

/// Norm of all gradients of the step before, ahead of clipping.
pub fn gradient_norm() -> StepMetric<StepReport> {
    let read = |report: &StepReport| read(report.gradient_norm.as_ref());
    StepMetric::new("Gradient norm", None, 3, read, |mean| mean)
}

fn read(value: Option<&Tensor<1>>) -> Result<Option<f64>, TensorReadError> {
    value
        .map(|value| value.clone().try_into_scalar::<f64>())
        .transpose()
}
