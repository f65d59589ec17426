//! Text that cannot be turned into ids, or ids into text.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// What is wrong with a tokenizer, a chat template, or what they were given.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TextError {
    /// The checkpoint has no such file or metadata.
    #[error("the checkpoint has no {what}")]
    Missing {
        /// What was looked for.
        what: &'static str,
    },
    /// A file cannot be read or written.
    #[error("{} cannot be read or written", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that is too large to be what its name says.
    #[error("{}: {found} bytes, at most {max} are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
        /// Largest size read.
        max: u64,
    },
    /// What Git LFS leaves in the place of a file.
    #[error(
        "{}: a Git LFS pointer, not the file itself: run `git lfs pull` in its repository",
        path.display()
    )]
    LfsPointer {
        /// The file.
        path: PathBuf,
    },
    /// Not the JSON that its name promises.
    #[error("{what} cannot be read")]
    Json {
        /// Name of the file.
        what: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The tokenizer library refuses the file or the text.
    #[error("the tokenizer refuses its file or the text")]
    Tokenizer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A GGUF entry that is missing or of another type.
    #[error("GGUF metadata {key}: expected {expected}")]
    Metadata {
        /// Name of the entry.
        key: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// A kind of tokenizer that the other side does not know.
    #[error("{what} {found:?} is not supported")]
    Unsupported {
        /// What is of an unknown kind.
        what: &'static str,
        /// Its kind.
        found: String,
    },
    /// A token whose id is beyond the vocabulary of the model.
    #[error("token {token:?} has id {id}, the model has {vocabulary} tokens")]
    TokenId {
        /// The token.
        token: String,
        /// Its id.
        id: u64,
        /// Number of tokens of the model.
        vocabulary: usize,
    },
    /// A token that one file gives another id than the tokenizer does.
    #[error(
        "token {token:?} has id {id} in added_tokens.json or tokenizer_config.json, the tokenizer would give it {}",
        found.map_or("none".to_string(), |id| id.to_string())
    )]
    AddedToken {
        /// The token.
        token: String,
        /// Its id by the file.
        id: u32,
        /// What the tokenizer gives it.
        found: Option<u32>,
    },
    /// A vocabulary too small for a tokenizer of its kind.
    #[error("a vocabulary of {found} tokens is too small, at least {least} are needed")]
    Vocabulary {
        /// The size asked for.
        found: usize,
        /// The smallest possible.
        least: usize,
    },
    /// The chat template is wrong, or refuses the messages.
    #[error("the chat template fails")]
    Template(#[from] minijinja::Error),
    /// The chat template does not come to an end.
    #[error("the chat template has not come to an end in {seconds} seconds")]
    TemplateTime {
        /// How long it was given.
        seconds: u64,
    },
    /// The chat template brought down the thread that it ran in.
    #[error("the chat template ended its thread")]
    TemplateFailed,
    /// No thread for the chat template.
    #[error("no thread can be started for the chat template")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
}

impl TextError {
    pub(super) fn json(what: &'static str) -> impl FnOnce(serde_json::Error) -> Self {
        move |source| Self::Json { what, source }
    }
}
