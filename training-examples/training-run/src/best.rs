//! The checkpoint with the lowest held-out loss, kept beside the newest ones.

use std::fs;
use std::path::{Path, PathBuf};

use burn::train::checkpoint::{CheckpointingAction, CheckpointingStrategy};
use burn::train::metric::store::{Aggregate, EventStoreClient, Split};
use serde::{Deserialize, Serialize};

use crate::checkpoint::PARTS;
use crate::error::{chain, write_atomic};
use crate::metric::LOSS;
use crate::unread::Unread;

/// The file that names it.
const FILE: &str = "best.json";

/// Newest checkpoints kept: should the newest be damaged, one is left.
const KEPT: usize = 2;

/// A checkpoint and what held-out data cost its model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The epoch that it ends.
    pub epoch: usize,
    /// Mean held-out loss.
    pub loss: f64,
}

impl Best {
    /// The best in a folder of checkpoints so far; `None` if none was measured.
    pub fn read(root: &Path) -> Option<Self> {
        let text = fs::read(root.join(FILE)).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// Keeps the newest checkpoints and the best one.
pub struct KeepNewestAndBest {
    root: PathBuf,
    best: Option<Best>,
    unread: Unread,
}

impl KeepNewestAndBest {
    /// Goes on from the best in the folder, unless it comes after epoch `newest`: what follows is done
    /// again. Records to be read are counted in `unread`.
    pub fn new(root: &Path, newest: usize, unread: Unread) -> Self {
        Self {
            root: root.into(),
            unread,
            best: Best::read(root).filter(|best| best.epoch <= newest),
        }
    }

    /// What happens at the end of `epoch`, whose held-out loss is `loss`.
    fn actions(&mut self, epoch: usize, loss: Option<f64>) -> Vec<CheckpointingAction> {
        let mut actions = vec![CheckpointingAction::Save];
        self.unread.add(PARTS.len());
        let old = self.best;
        let better = |loss: &f64| loss.is_finite() && old.is_none_or(|old| *loss < old.loss);
        if let Some(loss) = loss.filter(better) {
            let best = Best { epoch, loss };
            let text = serde_json::to_vec_pretty(&best).expect("two numbers");
            // Without the file nothing is lost but the knowledge of which is best.
            if let Err(error) = write_atomic(&self.root.join(FILE), &text) {
                tracing::warn!("{}", chain(&error));
            }
            self.best = Some(best);
        }
        let aged = epoch.saturating_sub(KEPT);
        let is_best = |epoch| self.best.is_some_and(|best| best.epoch == epoch);
        if aged > 0 && !is_best(aged) {
            actions.push(CheckpointingAction::Delete(aged));
        }
        if let Some(old) = old.filter(|old| old.epoch < aged && !is_best(old.epoch)) {
            actions.push(CheckpointingAction::Delete(old.epoch));
        }
        actions
    }
}

impl CheckpointingStrategy for KeepNewestAndBest {
    fn checkpointing(
        &mut self,
        epoch: usize,
        store: &EventStoreClient,
    ) -> Vec<CheckpointingAction> {
        let loss = store.find_metric(LOSS, epoch, Aggregate::Mean, &Split::Valid);
        self.actions(epoch, loss)
    }
}

#[cfg(test)]
mod tests {
    use super::CheckpointingAction::{Delete, Save};
    use super::*;

    #[test]
    fn the_best_stays_until_another_is_better() {
        let folder = tempfile::tempdir().unwrap();
        let mut keep = KeepNewestAndBest::new(folder.path(), 0, Unread::default());
        let mut at = |epoch, loss| keep.actions(epoch, Some(loss));
        assert_eq!(at(1, 3.0), [Save]);
        assert_eq!(at(2, 2.0), [Save]);
        assert_eq!(at(3, 2.5), [Save, Delete(1)]);
        assert_eq!(at(4, 2.4), [Save], "2 is the best");
        assert_eq!(at(5, f64::NAN), [Save, Delete(3)]);
        assert_eq!(
            Best::read(folder.path()),
            Some(Best {
                epoch: 2,
                loss: 2.0
            })
        );
        assert_eq!(at(6, 1.0), [Save, Delete(4), Delete(2)]);
        // A kill came before the checkpoint of epoch 6 was whole: it is done again.
        let mut again = KeepNewestAndBest::new(folder.path(), 5, Unread::default());
        assert_eq!(again.best, None);
        assert_eq!(again.actions(6, Some(1.0)), [Save, Delete(4)]);
    }
}
