//! What a training reads, of either kind.

use std::path::Path;
use std::sync::Arc;

use burn::data::dataloader::DataLoader;
use burn::tensor::Device;

use super::loader::{Talks, Windows};
use super::{
    Conversations, Corpus, DataError, Plan, TalkLoader, TokenBatch, TrainLoader, ValidLoader,
    Vocabulary,
};

/// Text in windows, or conversations.
#[derive(Clone, Debug)]
pub enum TrainingData {
    /// Every token is learned.
    Text(Corpus),
    /// What the assistant says is learned.
    Conversations(Conversations),
}

impl TrainingData {
    /// Reads `path` with the tokens of a model: conversations if it is JSON lines of `messages`, text
    /// otherwise.
    ///
    /// # Errors
    /// [`DataError`], naming the file.
    pub fn load(path: &Path, vocabulary: Vocabulary, context: usize) -> Result<Self, DataError> {
        match Conversations::are_in(path)? {
            true => Conversations::load(path, vocabulary, context).map(Self::Conversations),
            false => Corpus::load_as(path, vocabulary, context + 1).map(Self::Text),
        }
    }

    /// What the tokens are.
    pub fn vocabulary(&self) -> &Vocabulary {
        match self {
            Self::Text(corpus) => &corpus.vocabulary,
            Self::Conversations(talks) => &talks.vocabulary,
        }
    }

    /// The batches of a training from `epoch` on, counted from 1.
    pub fn train(&self, plan: Plan, epoch: usize, device: Device) -> TrainLoader {
        match self {
            Self::Text(corpus) => {
                let text = corpus.train.tokens.clone();
                TrainLoader::new(Arc::new(Windows { text, plan }), plan, epoch, device)
            }
            Self::Conversations(talks) => {
                let talks = talks.train.clone();
                TrainLoader::new(Arc::new(Talks { talks, plan }), plan, epoch, device)
            }
        }
    }

    /// Some of what is held out: at most `windows` windows or conversations, in batches.
    pub fn held_out(
        &self,
        windows: usize,
        plan: Plan,
        device: Device,
    ) -> Arc<dyn DataLoader<TokenBatch>> {
        match self {
            Self::Text(corpus) => {
                let text = corpus.valid.tokens.clone();
                let (batch, context) = (plan.batch_size, plan.context);
                Arc::new(ValidLoader::new(text, windows, batch, context, device))
            }
            Self::Conversations(talks) => {
                let count = talks.valid.len().min(windows);
                let some = talks.valid[..count].into();
                Arc::new(TalkLoader::new(some, plan.batch_size, device))
            }
        }
    }
}
