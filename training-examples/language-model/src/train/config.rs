//! Everything that decides a training.

use std::path::PathBuf;

use burn::config::Config;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use training_run::Steps;

use super::{RunError, Schedule};
use crate::data::{Corpus, DataError, Plan, TrainingData, Vocabulary};
use crate::error::Error;
use crate::model::{BaseModel, ModelConfig, TeacherModel};

/// Everything that decides a training, saved as `config.json` in its folder.
#[derive(Config, Debug, PartialEq)]
pub struct TrainConfig {
    /// Sizes of the model; those of `base` where there is one, but for the context and the dtype.
    pub model: ModelConfig,
    /// The model to fine-tune; without one, weights begin at random.
    pub base: Option<BaseModel>,
    /// A model to learn from besides the data.
    pub teacher: Option<TeacherModel>,
    /// Text or JSON-lines file, folder of them, or folder of tokens; without one, the Rust sources this
    /// program is built from.
    pub data: Option<PathBuf>,
    /// `tokenizer.json`, or a folder with one; without one, tokens are bytes.
    pub tokenizer: Option<PathBuf>,
    /// The template that conversations are written with, instead of that of `base`.
    pub chat_template: Option<PathBuf>,
    /// Seed of the first weights and of the order of the text.
    #[config(default = 42)]
    pub seed: u64,
    /// Number of optimizer steps.
    #[config(default = 500)]
    pub steps: usize,
    /// Windows of text a step.
    #[config(default = 16)]
    pub batch_size: usize,
    /// Windows whose activations are in memory at once: a step adds up the gradients of as many parts as it
    /// takes. All of them, if left out.
    pub micro_batch_size: Option<usize>,
    /// Steps from one checkpoint to the next.
    #[config(default = 50)]
    pub checkpoint_steps: usize,
    /// Steps over which the learning rate rises to its peak.
    #[config(default = 30)]
    pub warmup_steps: usize,
    /// Steps over which a float model becomes ternary, layer products going from floats to codes; at once,
    /// if left out.
    pub quantization_steps: Option<usize>,
    /// What moves the matrices of the layers; AdamW, if left out.
    pub optimizer: Option<OptimizerKind>,
    /// Peak learning rate of the first half.
    #[config(default = 4e-3)]
    pub learning_rate: f64,
    /// Peak learning rate of the second half.
    #[config(default = 2.5e-3)]
    pub second_learning_rate: f64,
    /// Weight decay that the first half rises to; the second half has none.
    #[config(default = 0.1)]
    pub weight_decay: f64,
    /// Norm to which all gradients together are clipped.
    #[config(default = 1.0)]
    pub gradient_norm: f32,
}

/// What moves the matrices of the layers; tables and norms have AdamW in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// AdamW.
    #[default]
    Adamw,
    /// Muon: orthogonalised steps.
    Muon,
}

impl TrainConfig {
    /// Checks what can be wrong on its own.
    ///
    /// # Errors
    /// [`RunError::ZeroSteps`] or a [`ConfigError`](crate::model::ConfigError).
    pub fn validate(&self) -> Result<(), Error> {
        let counts = [
            ("steps", self.steps),
            ("batch-size", self.batch_size),
            ("micro-batch-size", self.micro_batch_size.unwrap_or(1)),
            ("checkpoint-steps", self.checkpoint_steps),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(RunError::ZeroSteps { name }.into());
        }
        Ok(self.model.validate()?)
    }

    /// Parts that each of `devices` computes its share of a step in, one after the other.
    ///
    /// # Errors
    /// [`Error::Devices`] if a device would have less than a window for each.
    pub fn parts(&self, devices: usize) -> Result<usize, Error> {
        let largest = self.batch_size.div_ceil(devices);
        let parts = largest.div_ceil(self.micro_batch_size.unwrap_or(largest).max(1));
        match self.batch_size / devices {
            smallest if smallest < parts => Err(Error::Devices {
                devices,
                windows: self.batch_size,
                parts,
            }),
            _ => Ok(parts),
        }
    }

    /// What the training reads, with the tokens of its model.
    ///
    /// # Errors
    /// [`DataError`], naming the file; of the base, an error of its folder, or
    /// [`Error::Vocabulary`] for a tokenizer that it has no rows for.
    pub fn training_data(&self) -> Result<TrainingData, Error> {
        let Some(base) = &self.base else {
            return Ok(TrainingData::Text(self.corpus()?));
        };
        let checkpoint = base.open()?;
        let mut files = checkpoint.tokenizer()?;
        if let Some(path) = &self.chat_template {
            files.set_chat_template(path)?;
        }
        let vocabulary = Vocabulary::from_files(files)?;
        let rows = checkpoint.config().vocab_size;
        if vocabulary.size > rows {
            return Err(Error::Vocabulary {
                path: base.path.clone(),
                found: vocabulary.size,
                rows,
            });
        }
        let data = self.data.as_deref().ok_or(Error::NoData)?;
        Ok(TrainingData::load(data, vocabulary, self.model.context)?)
    }

    /// The tokens of a training that begins at random, and those held out.
    ///
    /// # Errors
    /// [`DataError`], naming the file.
    pub fn corpus(&self) -> Result<Corpus, DataError> {
        let (data, tokenizer) = (self.data.as_deref(), self.tokenizer.as_deref());
        Corpus::load(data, tokenizer, self.model.context + 1)
    }

    /// Learning rate and weight decay of every step.
    pub fn schedule(&self) -> Schedule {
        Schedule {
            steps: self.steps,
            warmup_steps: self.warmup_steps,
            learning_rate: self.learning_rate,
            second_learning_rate: self.second_learning_rate,
            weight_decay: self.weight_decay,
        }
    }

    /// The text of every step. An epoch, to Burn, is what lies between two checkpoints.
    pub fn plan(&self) -> Plan {
        Plan {
            seed: self.seed,
            batch_size: self.batch_size,
            context: self.model.context,
            steps: Steps {
                all: self.steps,
                epoch: self.checkpoint_steps,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_has_a_window_for_each_part_of_a_step() {
        let config = |windows, micro| TrainConfig {
            batch_size: windows,
            micro_batch_size: micro,
            ..TrainConfig::new(ModelConfig::new())
        };
        let parts = |windows, micro, devices| config(windows, micro).parts(devices).ok();
        assert_eq!(parts(16, None, 1), Some(1));
        assert_eq!(parts(16, Some(3), 1), Some(6));
        assert_eq!(parts(7, Some(2), 2), Some(2));
        assert_eq!(parts(3, None, 4), None);
        // Four windows and three, one at a time: the second device runs out.
        assert_eq!(parts(7, Some(1), 2), None);
    }
}
