//! The folder of one training.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use burn::config::{Config, ConfigError, config_to_json};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::TrainConfig;
use crate::atomic;
use crate::data::{Conversation, Conversations, Corpus, TrainingData};

/// Paths of a training: `config.json`, `data.json`, `losses.jsonl`, `losses.svg`,
/// `checkpoint/`, `model/`, `best/`.
#[derive(Clone, Debug)]
pub struct RunFolder {
    root: PathBuf,
}

/// What `data.json` says of the text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataRecord {
    source: String,
    vocabulary: usize,
    train_tokens: usize,
    valid_tokens: usize,
    fingerprint: String,
}

impl From<&Corpus> for DataRecord {
    fn from(corpus: &Corpus) -> Self {
        Self {
            source: corpus.source.clone(),
            vocabulary: corpus.vocabulary.size,
            train_tokens: corpus.train.tokens.len(),
            valid_tokens: corpus.valid.tokens.len(),
            fingerprint: format!("{:016x}", corpus.fingerprint),
        }
    }
}

impl From<&Conversations> for DataRecord {
    fn from(talks: &Conversations) -> Self {
        let tokens = |talks: &[Conversation]| talks.iter().map(|talk| talk.ids.len()).sum();
        Self {
            source: talks.source.clone(),
            vocabulary: talks.vocabulary.size,
            train_tokens: tokens(&talks.train),
            valid_tokens: tokens(&talks.valid),
            fingerprint: format!("{:016x}", talks.fingerprint),
        }
    }
}

impl From<&TrainingData> for DataRecord {
    fn from(data: &TrainingData) -> Self {
        match data {
            TrainingData::Text(corpus) => corpus.into(),
            TrainingData::Conversations(talks) => talks.into(),
        }
    }
}

impl RunFolder {
    /// Begins a training in a folder that holds none.
    ///
    /// # Errors
    /// [`RunError::Exists`], or [`RunError::Write`] if the folder cannot be written.
    pub fn create(
        root: &Path,
        config: &TrainConfig,
        data: impl Into<DataRecord>,
    ) -> Result<Self, RunError> {
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
    pub fn resume(
        root: &Path,
        config: &TrainConfig,
        data: impl Into<DataRecord>,
    ) -> Result<Self, RunError> {
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
        match serde_json::from_str::<DataRecord>(&text) {
            Ok(expected) if expected == found => Ok(run),
            Ok(expected) => Err(RunError::OtherData {
                path,
                expected: expected.fingerprint,
                found: found.fingerprint,
            }),
            Err(error) => Err(RunError::read(&path)(error.into())),
        }
    }

    /// The folder `root`, whatever is in it.
    pub fn at(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// The configuration saved in the folder.
    ///
    /// # Errors
    /// [`RunError::Config`] if there is none or it is damaged.
    pub fn config(&self) -> Result<TrainConfig, RunError> {
        let path = self.config_path();
        TrainConfig::load(&path).map_err(|error| RunError::Config { path, error })
    }

    /// The folder of the trained model: float weights, configuration, tokenizer.
    pub fn model(&self) -> PathBuf {
        self.root.join("model")
    }

    /// The model of an earlier checkpoint, where held-out text costs it less.
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
fn as_saved(config: &TrainConfig) -> TrainConfig {
    TrainConfig::load_binary(config_to_json(config).as_bytes()).unwrap_or_else(|_| config.clone())
}

/// `atomic::write` with the path in its error.
///
/// # Errors
/// [`RunError::Write`].
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    atomic::write(path, bytes).map_err(RunError::write(path))
}

/// A training folder that cannot be used, or a training that failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// A file or folder cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        reason: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        reason: io::Error,
    },
    /// The folder holds a training already.
    #[error("{} holds a training already: pass --resume, or another folder", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// There is no configuration, or it is damaged.
    #[error("{} is no configuration of a training: {error}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: ConfigError,
    },
    /// A resumed training was given other options.
    #[error("the options differ from those in {}: a resumed training keeps them", path.display())]
    OtherConfig {
        /// The saved configuration.
        path: PathBuf,
    },
    /// A resumed training was given other text.
    #[error(
        "the text (fingerprint {found}) is not that of {} ({expected}): a resumed training keeps it",
        path.display()
    )]
    OtherData {
        /// The saved description of the text.
        path: PathBuf,
        /// Fingerprint saved.
        expected: String,
        /// Fingerprint of the text now.
        found: String,
    },
    /// A count that must not be zero.
    #[error("{name} is 0")]
    ZeroSteps {
        /// Name of the option.
        name: &'static str,
    },
    /// The log lacks steps that the checkpoint has behind it.
    #[error("{} has the first {found} steps, and the checkpoint has {steps}", path.display())]
    MissingSteps {
        /// The log.
        path: PathBuf,
        /// Steps in the log.
        found: usize,
        /// Steps behind the checkpoint.
        steps: usize,
    },
    /// The loss is no number any more.
    #[error("the loss of step {step} is {loss}: try a lower learning rate")]
    Diverged {
        /// The step.
        step: usize,
        /// Its loss.
        loss: f64,
    },
}

impl RunError {
    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |reason| Self::Write { path, reason }
    }

    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |reason| Self::Read { path, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelConfig;

    fn corpus(text: &[u8]) -> DataRecord {
        (&crate::data::tests::corpus(text, text)).into()
    }

    fn config() -> TrainConfig {
        TrainConfig::new(ModelConfig::new())
    }

    #[test]
    fn a_configuration_comes_back_from_its_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let config = TrainConfig {
            learning_rate: 0.1 + 0.2,
            seed: u64::MAX,
            ..config()
        };
        let run = RunFolder::create(folder.path(), &config, corpus(b"a")).unwrap();
        assert_eq!(run.config().unwrap(), config);
    }

    #[test]
    fn a_folder_with_a_training_takes_no_second_one() {
        let folder = tempfile::tempdir().unwrap();
        RunFolder::create(folder.path(), &config(), corpus(b"a")).unwrap();
        let again = RunFolder::create(folder.path(), &config(), corpus(b"a"));
        assert!(matches!(again, Err(RunError::Exists { .. })));
    }

    #[test]
    fn a_training_resumes_only_with_its_own_options_and_text() {
        let folder = tempfile::tempdir().unwrap();
        let resume =
            |config: &TrainConfig, text| RunFolder::resume(folder.path(), config, corpus(text));
        resume(&config(), b"a").unwrap();
        resume(&config(), b"a").unwrap();
        let other = TrainConfig {
            steps: 7,
            ..config()
        };
        assert!(matches!(
            resume(&other, b"a"),
            Err(RunError::OtherConfig { .. })
        ));
        assert!(matches!(
            resume(&config(), b"b"),
            Err(RunError::OtherData { .. })
        ));
    }

    #[test]
    fn a_folder_below_a_file_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = RunFolder::create(&file.join("run"), &config(), corpus(b"a")).unwrap_err();
        assert!(matches!(error, RunError::Write { .. }), "{error}");
    }

    #[test]
    fn a_damaged_configuration_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::create(folder.path(), &config(), corpus(b"a")).unwrap();
        fs::write(run.config_path(), "{\"seed\": 1").unwrap();
        let error = run.config().unwrap_err().to_string();
        assert!(error.contains("config.json"), "{error}");
    }
}
