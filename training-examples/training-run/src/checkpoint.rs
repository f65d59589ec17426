//! Checkpoints that survive a kill at any moment.
//!
//! Burn saves model, optimizer and scheduler side by side, from three threads, straight into their
//! files. Here a checkpoint is a folder, `checkpoint/<epoch>/`, and the last of the three to be
//! written adds `complete.json` with the length and checksum of each. A folder without it was cut
//! short by a kill and does not count; one whose files do not match it is damaged.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use burn::module::Module;
use burn::tensor::Bytes;
use burn::train::checkpoint::{Checkpoint, Checkpointer, CheckpointerError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::best::{Best, KeepNewestAndBest};
use crate::error::{RunError, chain, write_atomic};
use crate::hash::Fnv;
use crate::unread::Unread;

/// Files of a checkpoint, in the order in which Burn takes their writers.
pub(crate) const PARTS: [&str; 3] = ["model.bpk", "optimizer.bpk", "schedule.bpk"];

/// The file that makes a checkpoint whole.
const COMPLETE: &str = "complete.json";

/// Length and checksum of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Seal {
    bytes: usize,
    checksum: String,
}

impl Seal {
    fn of(bytes: &[u8]) -> Self {
        let checksum = format!("{:016x}", Fnv::default().chain(bytes).finish());
        Self {
            bytes: bytes.len(),
            checksum,
        }
    }
}

type Seals = BTreeMap<String, Seal>;

/// The checkpoints of one training.
pub struct Checkpoints {
    root: PathBuf,
    unread: Unread,
}

impl Checkpoints {
    /// The checkpoints in the folder `root`, which is made if missing; what a kill left unfinished
    /// in it is removed.
    ///
    /// # Errors
    /// [`RunError::Write`].
    pub fn open(root: &Path) -> Result<Self, RunError> {
        let clean = || {
            fs::create_dir_all(root)?;
            for entry in fs::read_dir(root)? {
                let folder = entry?.path();
                if folder.is_dir() && !folder.join(COMPLETE).exists() {
                    fs::remove_dir_all(folder)?;
                }
            }
            Ok(())
        };
        clean().map_err(RunError::write(root))?;
        Ok(Self {
            root: root.into(),
            unread: Unread::default(),
        })
    }

    /// The epoch of the newest checkpoint that is whole and undamaged; none if none was completed.
    ///
    /// A damaged one is passed over with a warning if an older one is sound.
    ///
    /// # Errors
    /// [`CheckpointError`] of the newest if all that were completed are damaged.
    pub fn newest(&self) -> Result<Option<usize>, CheckpointError> {
        let mut damage = None;
        for epoch in self.completed()? {
            match self.check(epoch) {
                Ok(()) => return Ok(Some(epoch)),
                Err(error) => {
                    tracing::warn!("passed over a checkpoint: {}", chain(&error));
                    damage.get_or_insert(error);
                }
            }
        }
        damage.map_or(Ok(None), Err)
    }

    /// Writers and readers of model, optimizer and scheduler.
    pub fn parts(&self) -> [Part; 3] {
        let written = Arc::default();
        PARTS.map(|name| Part {
            root: self.root.clone(),
            name,
            written: Arc::clone(&written),
            unread: self.unread.clone(),
        })
    }

    /// What a step waits for before it changes what a checkpoint is still to be made of.
    pub fn unread(&self) -> Unread {
        self.unread.clone()
    }

    /// Which checkpoints to write and to keep, in a training that goes on from `newest`.
    pub fn strategy(&self, newest: Option<usize>) -> KeepNewestAndBest {
        KeepNewestAndBest::new(&self.root, newest.unwrap_or(0), self.unread())
    }

    /// The model of the checkpoint with the lowest held-out loss, if that is not the one of `last`, and
    /// its loss. `model` takes its weights.
    ///
    /// # Errors
    /// [`CheckpointError`] if it is damaged.
    pub fn best<M: Module>(
        &self,
        last: usize,
        model: M,
    ) -> Result<Option<(Best, M)>, CheckpointError> {
        let Some(best) = Best::read(&self.root).filter(|best| best.epoch < last) else {
            return Ok(None);
        };
        self.check(best.epoch)?;
        let [part, ..] = self.parts();
        let record = part
            .restore(best.epoch)
            .map_err(|error| CheckpointError::Damaged {
                path: folder(&self.root, best.epoch),
                reason: error.to_string(),
            })?;
        Ok(Some((best, model.load_record(record))))
    }

    /// Epochs that have a complete checkpoint, the newest first.
    fn completed(&self) -> Result<Vec<usize>, CheckpointError> {
        let unreadable = |reason| CheckpointError::Unreadable {
            path: self.root.clone(),
            reason,
        };
        let mut epochs: Vec<usize> = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let epoch = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<usize>().ok());
            epochs.extend(epoch.filter(|_| entry.path().join(COMPLETE).exists()));
        }
        epochs.sort_unstable_by(|a, b| b.cmp(a));
        Ok(epochs)
    }

    fn check(&self, epoch: usize) -> Result<(), CheckpointError> {
        let folder = folder(&self.root, epoch);
        let seals = read_seals(&folder)?;
        PARTS
            .iter()
            .try_for_each(|name| read_part(&folder, name, &seals).map(drop))
    }
}

/// One of the three parts of every checkpoint.
pub struct Part {
    root: PathBuf,
    name: &'static str,
    /// What is written of checkpoints that are not whole yet, by epoch.
    written: Arc<Mutex<BTreeMap<usize, Seals>>>,
    unread: Unread,
}

impl<R: Checkpoint> Checkpointer<R> for Part {
    fn save(&self, epoch: usize, record: R) -> Result<(), CheckpointerError> {
        let reading = self.unread.one();
        let bytes = record
            .checkpoint_into_bytes()
            .map_err(CheckpointerError::Record)?;
        drop(reading);
        let folder = folder(&self.root, epoch);
        fs::create_dir_all(&folder).map_err(CheckpointerError::IOError)?;
        write_atomic(&folder.join(self.name), &bytes).map_err(unknown)?;

        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let seals = written.entry(epoch).or_default();
        seals.insert(self.name.into(), Seal::of(&bytes));
        if seals.len() == PARTS.len() {
            let json = serde_json::to_vec_pretty(seals).expect("strings and numbers");
            write_atomic(&folder.join(COMPLETE), &json).map_err(unknown)?;
            written.remove(&epoch);
        }
        Ok(())
    }

    fn restore(&self, epoch: usize) -> Result<R, CheckpointerError> {
        let folder = folder(&self.root, epoch);
        let seals = read_seals(&folder).map_err(unknown)?;
        let bytes = read_part(&folder, self.name, &seals).map_err(unknown)?;
        R::checkpoint_from_bytes(Bytes::from_bytes_vec(bytes)).map_err(CheckpointerError::Record)
    }

    fn delete(&self, epoch: usize) -> Result<(), CheckpointerError> {
        let folder = folder(&self.root, epoch);
        // The seals first: what a kill leaves behind must not count as damaged.
        for name in [COMPLETE, self.name] {
            ignore_missing(fs::remove_file(folder.join(name)))?;
        }
        // Whoever comes last finds the folder empty.
        let _ = fs::remove_dir(folder);
        Ok(())
    }
}

fn ignore_missing(result: io::Result<()>) -> Result<(), CheckpointerError> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(CheckpointerError::IOError(error))
        }
        _ => Ok(()),
    }
}

fn unknown(error: impl std::error::Error) -> CheckpointerError {
    CheckpointerError::Unknown(chain(&error))
}

fn folder(root: &Path, epoch: usize) -> PathBuf {
    root.join(epoch.to_string())
}

fn read_seals(folder: &Path) -> Result<Seals, CheckpointError> {
    let path = folder.join(COMPLETE);
    let bytes = read(&path)?;
    serde_json::from_slice(&bytes).map_err(|error| CheckpointError::Damaged {
        path,
        reason: error.to_string(),
    })
}

fn read_part(folder: &Path, name: &str, seals: &Seals) -> Result<Vec<u8>, CheckpointError> {
    let path = folder.join(name);
    let bytes = read(&path)?;
    let found = Seal::of(&bytes);
    let reason = match seals.get(name) {
        Some(expected) if *expected == found => return Ok(bytes),
        Some(expected) if expected.bytes != found.bytes => {
            format!("{} bytes, expected {}", found.bytes, expected.bytes)
        }
        Some(expected) => format!(
            "checksum {}, expected {}",
            found.checksum, expected.checksum
        ),
        None => format!("{COMPLETE} does not list it"),
    };
    Err(CheckpointError::Damaged { path, reason })
}

fn read(path: &Path) -> Result<Vec<u8>, CheckpointError> {
    fs::read(path).map_err(|reason| CheckpointError::Unreadable {
        path: path.into(),
        reason,
    })
}

/// A checkpoint that cannot be resumed from.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A file is not what was written.
    #[error("the checkpoint file {} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// A file or folder cannot be read.
    #[error("cannot read the checkpoint file {}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        reason: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use burn::lr_scheduler::LrSchedulerRecord;

    use super::*;

    fn record(value: u64) -> LrSchedulerRecord {
        LrSchedulerRecord::new().with_scalar("value", value)
    }

    fn save(checkpoints: &Checkpoints, epoch: usize, parts: usize) {
        for part in &checkpoints.parts()[..parts] {
            part.save(epoch, record(epoch as u64)).unwrap();
        }
    }

    fn checkpoints() -> (tempfile::TempDir, Checkpoints) {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open(&folder.path().join("checkpoint")).unwrap();
        (folder, checkpoints)
    }

    #[test]
    fn a_checkpoint_counts_once_all_its_parts_are_written() {
        let (_folder, checkpoints) = checkpoints();
        assert_eq!(checkpoints.newest().unwrap(), None);
        let parts = checkpoints.parts();
        for (part, newest) in parts.iter().zip([None, None, Some(3)]) {
            part.save(3, record(9)).unwrap();
            assert_eq!(checkpoints.newest().unwrap(), newest);
        }
        let restored: LrSchedulerRecord = parts[1].restore(3).unwrap();
        assert_eq!(restored.scalar::<u64>("value"), Some(9));
    }

    #[test]
    fn one_cut_short_by_a_kill_is_passed_over_in_silence() {
        let (folder, checkpoints) = checkpoints();
        save(&checkpoints, 9, 3);
        save(&checkpoints, 10, 2);
        assert_eq!(checkpoints.newest().unwrap(), Some(9));
        // The next run removes it and writes it anew.
        let checkpoints = Checkpoints::open(&folder.path().join("checkpoint")).unwrap();
        assert!(!folder.path().join("checkpoint/10").exists());
        save(&checkpoints, 10, 3);
        assert_eq!(checkpoints.newest().unwrap(), Some(10));
    }

    #[test]
    fn a_damaged_one_is_refused_and_the_one_before_is_used() {
        let (folder, checkpoints) = checkpoints();
        save(&checkpoints, 1, 3);
        save(&checkpoints, 2, 3);
        let file = folder.path().join("checkpoint/2/optimizer.bpk");
        let mut bytes = fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&file, &bytes).unwrap();
        assert_eq!(checkpoints.newest().unwrap(), Some(1));
        let error = Checkpointer::<LrSchedulerRecord>::restore(&checkpoints.parts()[1], 2);
        assert!(error.unwrap_err().to_string().contains("optimizer.bpk"));

        let file = folder.path().join("checkpoint/1/model.bpk");
        fs::write(&file, b"short").unwrap();
        let error = checkpoints.newest().unwrap_err().to_string();
        assert!(
            error.contains("2/optimizer.bpk") && error.contains("expected"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_file_and_a_torn_seal_are_damage() {
        let (folder, checkpoints) = checkpoints();
        save(&checkpoints, 1, 3);
        let root = folder.path().join("checkpoint/1");
        fs::remove_file(root.join("model.bpk")).unwrap();
        assert!(matches!(
            checkpoints.newest(),
            Err(CheckpointError::Unreadable { .. })
        ));
        fs::write(root.join(COMPLETE), "{").unwrap();
        assert!(matches!(
            checkpoints.newest(),
            Err(CheckpointError::Damaged { .. })
        ));
    }

    #[test]
    fn a_deleted_one_leaves_nothing_and_a_half_deleted_one_does_not_count() {
        let (folder, checkpoints) = checkpoints();
        save(&checkpoints, 1, 3);
        save(&checkpoints, 2, 3);
        let delete = |part: &Part| Checkpointer::<LrSchedulerRecord>::delete(part, 2).unwrap();
        let parts = checkpoints.parts();
        delete(&parts[0]);
        assert_eq!(checkpoints.newest().unwrap(), Some(1));
        delete(&parts[1]);
        delete(&parts[2]);
        delete(&parts[2]);
        assert!(!folder.path().join("checkpoint/2").exists());
    }
}
