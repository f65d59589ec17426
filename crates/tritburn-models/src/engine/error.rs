//! Why an engine does not start, refuses a request, or ends one.

use thiserror::Error;

use crate::model::ModelError;
use crate::sample::SampleError;

/// Why an engine did not start or stop as asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A size of zero.
    #[error("{name} is 0, it has to be at least 1")]
    Zero {
        /// Name of the option.
        name: &'static str,
    },
    /// The cache cannot be made.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The device or its driver stopped while the engine started.
    #[error("the engine did not start: {reason}")]
    Start {
        /// What it said.
        reason: String,
    },
    /// No engines for a pool.
    #[error("a pool needs at least one engine")]
    NoEngine,
}

/// Why a request was not taken.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// As many requests wait as may.
    #[error("{waiting} requests wait already, the queue holds {limit}")]
    QueueFull {
        /// Requests that wait.
        waiting: usize,
        /// Requests that may wait.
        limit: usize,
    },
    /// Nothing to continue.
    #[error("the prompt is empty: give at least one token")]
    EmptyPrompt,
    /// A token id outside of the vocabulary.
    #[error("token {index} of the {what} is {id}, the vocabulary has {vocabulary} entries")]
    TokenId {
        /// Where it stands: `prompt`, `stop ids` or `logit bias`.
        what: &'static str,
        /// Its index there.
        index: usize,
        /// The id.
        id: u32,
        /// Entries of the vocabulary.
        vocabulary: usize,
    },
    /// Prompt and answer are longer than the context.
    #[error(
        "a prompt of {prompt} tokens and {new} new ones need more than the context of {context}"
    )]
    Context {
        /// Tokens of the prompt.
        prompt: usize,
        /// New tokens asked for, 1 if nothing was said.
        new: usize,
        /// Positions of a sequence.
        context: usize,
    },
    /// Prompt and answer are longer than the whole cache.
    #[error("the request needs {needed} blocks of the cache, which has {blocks}")]
    Cache {
        /// Blocks needed.
        needed: usize,
        /// Blocks there are.
        blocks: usize,
    },
    /// A parameter out of its range.
    #[error("{name} is {value}, it has to be {expected}")]
    Parameter {
        /// Name of the field.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it has to be.
        expected: String,
    },
    /// A parameter of sampling out of its range.
    #[error(transparent)]
    Sampling(#[from] SampleError),
    /// Something that needs a tokenizer, which the engine was started without.
    #[error("{what} need a tokenizer, and the engine has none")]
    NoTokenizer {
        /// The field of the request.
        what: &'static str,
    },
    /// A schema or expression that cannot be followed.
    #[error("the structure of the answer cannot be enforced: {reason}")]
    Structure {
        /// What is wrong with it.
        reason: String,
    },
    /// The engine takes no more requests.
    #[error("the engine is shutting down")]
    ShuttingDown,
    /// The engine has stopped, after an error of its device.
    #[error("the engine has stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

/// Why a request that was taken did not come to its end.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum Failure {
    /// The device failed, and with it the engine.
    #[error("the device failed: {reason}")]
    Device {
        /// What it said.
        reason: String,
    },
    /// The engine was shut down before the request was done.
    #[error("the engine was shut down")]
    Shutdown,
    /// Logits that are not numbers.
    #[error("the logits hold a NaN or an infinity")]
    NotFinite,
    /// No next token could be chosen.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// The text of a token could not be made.
    #[error("the answer could not be decoded: {reason}")]
    Text {
        /// What the tokenizer said.
        reason: String,
    },
    /// The structure of the answer could not be followed further.
    #[error("the structure of the answer could not be followed: {reason}")]
    Structure {
        /// What went wrong.
        reason: String,
    },
}
