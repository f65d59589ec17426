//! A model as it is served.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tritburn_models::checkpoint::{Checkpoint, CheckpointError};
use tritburn_models::text::{ChatTemplate, TextError, Tokenizer, TokenizerFiles};

/// What a model brings for its text.
#[derive(Clone, Debug)]
pub struct ModelText {
    /// Text to ids and back.
    pub tokenizer: Arc<Tokenizer>,
    /// From a conversation to a prompt; `None` for a model that takes no turns.
    pub template: Option<ChatTemplate>,
    /// Ids that end an answer.
    pub stop_ids: Vec<u32>,
}

impl ModelText {
    /// Reads it.
    ///
    /// # Errors
    /// [`TextError`] for files that cannot be read, and for a model without a tokenizer.
    pub fn from_files(files: &TokenizerFiles, stop_ids: Vec<u32>) -> Result<Self, TextError> {
        Ok(Self {
            tokenizer: Arc::new(Tokenizer::from_files(files)?),
            template: ChatTemplate::from_files(files)?,
            stop_ids,
        })
    }

    /// That of a checkpoint. One without a tokenizer, as random weights are, speaks in made-up words
    /// ([`TokenizerFiles::made_up`]).
    ///
    /// # Errors
    /// [`CheckpointError`] for files that cannot be read.
    pub fn of(checkpoint: &dyn Checkpoint) -> Result<Self, CheckpointError> {
        let mut files = checkpoint.tokenizer()?;
        if files.is_empty() {
            tracing::warn!("the model brings no tokenizer: bytes go in, made-up words come out");
            files = TokenizerFiles::made_up(checkpoint.config().vocab_size)?;
        }
        Ok(Self::from_files(&files, checkpoint.stop_ids()?)?)
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| time.as_secs())
}
