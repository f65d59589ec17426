//! How a training went.

use std::path::Path;
use std::time::Duration;

use burn::train::LearningResult;

use crate::best::Best;
use crate::error::RunError;
use crate::step_log::StepLog;
use crate::steps::Steps;

/// A training that came to its end, and its model.
pub struct Trained<M> {
    /// The model, ready for inference.
    pub model: M,
    /// Step after which it was resumed; 0 if it began here.
    pub resumed_at: usize,
    /// Time spent in this process.
    pub time: Duration,
    /// An earlier step with a lower held-out loss, whose model is in `best/`.
    pub best: Option<BestStep>,
}

/// A step after which held-out data cost the model less than after the last one.
#[derive(Clone, Copy, Debug)]
pub struct BestStep {
    /// The step.
    pub step: usize,
    /// Its held-out loss.
    pub loss: f64,
}

impl BestStep {
    /// The step of a checkpoint.
    pub fn new(best: Best, steps: Steps) -> Self {
        Self {
            step: steps.after(best.epoch),
            loss: best.loss,
        }
    }
}

impl<M> Trained<M> {
    /// What is told of a training of `steps`, whose model is in the folder `model`.
    pub fn summary(&self, steps: usize, model: &Path) -> String {
        let done = match self.resumed_at {
            0 => format!("trained {steps} steps"),
            step => format!("resumed after step {step} and trained to step {steps}"),
        };
        let seconds = self.time.as_secs_f64();
        format!(
            "{done}\nin {seconds:.1} s; the model is {}",
            model.display()
        )
    }
}

/// The model of a training in `folder` that came to its end.
///
/// # Errors
/// [`RunError`]: what the log says, or why Burn stopped.
pub fn ended<M, R>(
    result: LearningResult<M>,
    log: StepLog<R>,
    folder: &Path,
) -> Result<M, RunError> {
    // The log's error is the cause where there is one: it stopped the training.
    log.close()?;
    if let Some(error) = result.error {
        return Err(RunError::Training(error));
    }
    if let Some(interruption) = result.interrupted {
        let reason = interruption
            .reason
            .unwrap_or_else(|| "stopped by hand".into());
        return Err(RunError::Interrupted {
            reason,
            folder: folder.into(),
        });
    }
    Ok(result.model)
}
