//! The folder of one training.

use serde::{Deserialize, Serialize};
use training_run::RunData;

use super::TrainConfig;
use crate::data::{Conversation, Conversations, Corpus, TrainingData};

/// The folder of a training on text.
pub type RunFolder = training_run::RunFolder<TrainConfig, DataRecord>;

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

impl RunData for DataRecord {
    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model::ModelConfig;
    use crate::train::RunError;

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
