//! How held-out images were classified at every checkpoint, in a file.

use std::fs;
use std::path::{Path, PathBuf};

use burn::train::checkpoint::{CheckpointingAction, CheckpointingStrategy};
use burn::train::metric::store::{Aggregate, EventStoreClient, Split};
use serde::{Deserialize, Serialize};
use training_run::{KeepNewestAndBest, LOSS, RunError, Steps, chain, write_atomic};

use super::metrics::ACCURACY;

/// One line of `epochs.jsonl`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The last step of the epoch.
    pub step: usize,
    /// Cross entropy of held-out images, nats.
    pub loss: f64,
    /// Their accuracy, from 0 to 1.
    pub accuracy: f64,
}

/// Reads `epochs.jsonl`; empty if there is none.
///
/// # Errors
/// [`RunError::Read`] for a line that is none.
pub fn read(path: &Path) -> Result<Vec<EpochRecord>, RunError> {
    let Ok(text) = fs::read_to_string(path) else {
        return Ok(Vec::new());
    };
    let records: Result<_, _> = text.lines().map(serde_json::from_str).collect();
    records.map_err(|error| RunError::read(path)(error.into()))
}

/// Keeps the newest checkpoints and the best, and writes down how each did.
pub struct Recording {
    keep: KeepNewestAndBest,
    path: PathBuf,
    records: Vec<EpochRecord>,
    steps: Steps,
}

impl Recording {
    /// Goes on after `resumed_at` steps in a training of `steps`.
    ///
    /// # Errors
    /// [`RunError`] if the file is damaged.
    pub fn new(
        keep: KeepNewestAndBest,
        path: PathBuf,
        resumed_at: usize,
        steps: Steps,
    ) -> Result<Self, RunError> {
        let mut records = read(&path)?;
        records.retain(|record| record.step <= resumed_at);
        Ok(Self {
            keep,
            path,
            records,
            steps,
        })
    }

    fn write(&self) -> Result<(), RunError> {
        let lines = self
            .records
            .iter()
            .map(|record| serde_json::json!(record).to_string() + "\n");
        write_atomic(&self.path, lines.collect::<String>().as_bytes())
    }
}

impl CheckpointingStrategy for Recording {
    fn checkpointing(
        &mut self,
        epoch: usize,
        store: &EventStoreClient,
    ) -> Vec<CheckpointingAction> {
        let find = |name| store.find_metric(name, epoch, Aggregate::Mean, &Split::Valid);
        if let (Some(loss), Some(accuracy)) = (find(LOSS), find(ACCURACY)) {
            self.records.push(EpochRecord {
                step: self.steps.after(epoch),
                loss,
                accuracy: accuracy / 100.0,
            });
            // A training is not lost with its curve.
            if let Err(error) = self.write() {
                tracing::warn!("{}", chain(&error));
            }
        }
        self.keep.checkpointing(epoch, store)
    }
}
