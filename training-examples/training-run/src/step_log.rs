//! The loss of every step, in a file.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{Tensor, TensorReadError};
use burn::train::Interrupter;
use burn::train::metric::{Metric, MetricMetadata, MetricName, SerializedEntry};
use serde::{Deserialize, Serialize};

use crate::error::{RunError, chain, write_atomic};

/// One line of `losses.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The step, counted from 1.
    pub step: usize,
    /// Mean loss, before the step changed the weights.
    pub loss: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
}

/// Writes `losses.jsonl`, one [`StepRecord`] a line, and stops a training whose loss is no number.
///
/// It is a metric, because Burn waits for all metrics before it writes a checkpoint: the steps up to
/// a checkpoint are in the file when the checkpoint is whole.
pub struct StepLog<R> {
    path: PathBuf,
    state: Arc<Mutex<LogState>>,
    interrupter: Interrupter,
    report: PhantomData<fn(&R)>,
}

/// What the report of a step says.
pub trait StepLoss {
    /// The step, counted from 1.
    fn step(&self) -> usize;

    /// Mean loss, `[1]`.
    fn loss(&self) -> Tensor<1>;
}

// Derived, this would ask for a report that can be cloned.
impl<R> Clone for StepLog<R> {
    fn clone(&self) -> Self {
        Self {
            path: self.path.clone(),
            state: self.state.clone(),
            interrupter: self.interrupter.clone(),
            report: PhantomData,
        }
    }
}

struct LogState {
    file: File,
    error: Option<RunError>,
}

impl<R> StepLog<R> {
    /// Keeps the first `steps` lines of the log at `path` and adds to them.
    ///
    /// # Errors
    /// [`RunError`] if the file cannot be read or written, or lacks one of these steps.
    pub fn open(path: &Path, steps: usize, interrupter: Interrupter) -> Result<Self, RunError> {
        let text = match steps {
            0 => String::new(),
            _ => fs::read_to_string(path).map_err(RunError::read(path))?,
        };
        // As text, since JSON numbers do not survive being read and written again bit for bit. A
        // kill can leave a torn line at the end.
        let whole = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        let kept: Vec<_> = whole
            .take_while(|line| step_of(line).is_some_and(|step| step <= steps))
            .collect();
        if kept.len() != steps || kept.last().and_then(|line| step_of(line)).unwrap_or(0) != steps {
            return Err(RunError::MissingSteps {
                path: path.into(),
                found: kept.len(),
                steps,
            });
        }
        write_atomic(path, kept.concat().as_bytes())?;
        let file = OpenOptions::new()
            .append(true)
            .open(path)
            .map_err(RunError::write(path))?;
        let state = Arc::new(Mutex::new(LogState { file, error: None }));
        Ok(Self {
            path: path.into(),
            state,
            interrupter,
            report: PhantomData,
        })
    }

    /// Reports what went wrong while training.
    ///
    /// # Errors
    /// [`RunError`] if a line could not be written or a loss was no number.
    pub fn close(self) -> Result<(), RunError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.error.take().map_or(Ok(()), Err)
    }

    fn add(&self, record: &StepRecord) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let error = if record.loss.is_finite() {
            let written = state.file.write_all(line(record).as_bytes());
            match written.map_err(RunError::write(&self.path)) {
                Ok(()) => return,
                Err(error) => error,
            }
        } else {
            RunError::Diverged {
                step: record.step,
                loss: record.loss,
            }
        };
        self.interrupter.stop(Some(&chain(&error)));
        state.error.get_or_insert(error);
    }
}

fn step_of(line: &str) -> Option<usize> {
    serde_json::from_str::<StepRecord>(line)
        .ok()
        .map(|record| record.step)
}

fn line(record: &StepRecord) -> String {
    let json = serde_json::to_string(record).expect("numbers under fixed names");
    json + "\n"
}

impl<R: StepLoss + 'static> Metric for StepLog<R> {
    type Input = R;

    fn name(&self) -> MetricName {
        Arc::new("Step".into())
    }

    fn update(
        &mut self,
        report: &R,
        metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        self.add(&StepRecord {
            step: report.step(),
            loss: report.loss().try_into_scalar()?,
            learning_rate: metadata.lr.as_ref().map_or(0.0, |rate| rate.base()),
        });
        let step = report.step().to_string();
        Ok(SerializedEntry::new(step.clone(), step))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(SerializedEntry::not_available(None))
    }

    fn clear(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: usize) -> StepRecord {
        StepRecord {
            step,
            loss: f64::from(1.0f32 / 3.0) / step as f64,
            learning_rate: 1e-3,
        }
    }

    fn log(path: &Path, steps: usize) -> Result<StepLog<()>, RunError> {
        StepLog::open(path, steps, Interrupter::new())
    }

    #[test]
    fn a_resumed_log_drops_what_came_after_the_checkpoint_and_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("losses.jsonl");
        let first = log(&path, 0).unwrap();
        (1..=5).for_each(|step| first.add(&record(step)));
        first.close().unwrap();
        let torn = fs::read_to_string(&path).unwrap() + "{\"step\":6,\"lo";
        fs::write(&path, torn).unwrap();
        let second = log(&path, 3).unwrap();
        second.add(&record(4));
        let expected: String = [1, 2, 3, 4].map(|step| line(&record(step))).concat();
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    }

    #[test]
    fn a_log_that_lacks_steps_of_the_checkpoint_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("losses.jsonl");
        log(&path, 0).unwrap().add(&record(1));
        let error = log(&path, 2).err().unwrap();
        assert!(
            matches!(
                error,
                RunError::MissingSteps {
                    found: 1,
                    steps: 2,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn a_loss_that_is_no_number_stops_the_training_and_names_the_step() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(&folder.path().join("losses.jsonl"), 0).unwrap();
        log.add(&StepRecord {
            loss: f64::NAN,
            ..record(1)
        });
        assert!(log.interrupter.should_stop());
        assert!(matches!(
            log.close(),
            Err(RunError::Diverged { step: 1, .. })
        ));
    }
}
