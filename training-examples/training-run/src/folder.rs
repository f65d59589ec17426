//! The folder of one training.

use std::fs;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use burn::config::{Config, config_to_json};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{RunError, write_atomic};

/// What `data.json` says of what a training reads.
pub trait RunData: PartialEq + Serialize + DeserializeOwned {
    /// Checksum of all that is read.
    fn fingerprint(&self) -> &str;
}

/// Paths of a training with the configuration `C` and the data `D`: `config.json`, `data.json`,
/// `losses.jsonl`, `losses.svg`, `checkpoint/`, `model/`, `packed/`, `best/`.
#[derive(Debug)]
pub struct RunFolder<C, D> {
    root: PathBuf,
    kind: PhantomData<fn() -> (C, D)>,
}

impl<C: Config + Clone + PartialEq, D: RunData> RunFolder<C, D> {
    /// Begins a training in a folder that holds none.
    ///
    /// # Errors
    /// [`RunError::Exists`], or [`RunError::Write`] if the folder cannot be written.
    pub fn create(root: &Path, config: &C, data: impl Into<D>) -> Result<Self, RunError> {
        let run = Self::at(root);
        if run.config_path().exists() || run.checkpoints().exists() {
            return Err(RunError::Exists { path: root.into() });
        }
        fs::create_dir_all(root).map_err(RunError::write(root))?;
        let data = serde_json::to_string_pretty(&data.into()).expect("plain fields");
        write_atomic(&run.data_path(), data.as_bytes())?;
        // Last, because its presence is what makes a training of the folder.
        write_atomic(&run.config_path(), config_to_json(config).as_bytes())?;
        Ok(run)
    }

    /// Goes on with the training in a folder, or begins it if a kill came before its first file.
    ///
    /// # Errors
    /// [`RunError::OtherConfig`] or [`RunError::OtherData`] if it would be another training.
    pub fn resume(root: &Path, config: &C, data: impl Into<D>) -> Result<Self, RunError> {
        let found = data.into();
        let run = Self::at(root);
        if !run.config_path().exists() {
            return Self::create(root, config, found);
        }
        if run.config()? != as_saved(config) {
            return Err(RunError::OtherConfig {
                path: run.config_path(),
            });
        }
        let path = run.data_path();
        let text = fs::read_to_string(&path).map_err(RunError::read(&path))?;
        match serde_json::from_str::<D>(&text) {
            Ok(expected) if expected == found => Ok(run),
            Ok(expected) => Err(RunError::OtherData {
                path,
                expected: expected.fingerprint().into(),
                found: found.fingerprint().into(),
            }),
            Err(error) => Err(RunError::read(&path)(error.into())),
        }
    }

    /// The folder `root`, whatever is in it.
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.into(),
            kind: PhantomData,
        }
    }

    /// The configuration saved in the folder.
    ///
    /// # Errors
    /// [`RunError::Config`] if there is none or it is damaged.
    pub fn config(&self) -> Result<C, RunError> {
        let path = self.config_path();
        C::load(&path).map_err(|error| RunError::Config { path, error })
    }

    /// The folder of the trained model, with its float weights.
    pub fn model(&self) -> PathBuf {
        self.root.join("model")
    }

    /// The model of an earlier checkpoint, where held-out data cost it less.
    pub fn best(&self) -> PathBuf {
        self.root.join("best")
    }

    /// The trained model at 2 bits a weight.
    pub fn packed(&self) -> PathBuf {
        self.root.join("packed")
    }

    /// The loss of every step.
    pub fn losses(&self) -> PathBuf {
        self.root.join("losses.jsonl")
    }

    /// The same as a picture, once the training has ended.
    pub fn loss_chart(&self) -> PathBuf {
        self.root.join("losses.svg")
    }

    /// The folder of the checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoint")
    }

    /// The configuration: where it is, there is a training.
    pub fn config_path(&self) -> PathBuf {
        self.root.join("config.json")
    }

    fn data_path(&self) -> PathBuf {
        self.root.join("data.json")
    }
}

/// The configuration as it comes back from its file: a JSON number can lose its last bit.
fn as_saved<C: Config + Clone>(config: &C) -> C {
    C::load_binary(config_to_json(config).as_bytes()).unwrap_or_else(|_| config.clone())
}
