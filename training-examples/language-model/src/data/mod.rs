//! Text to train on and to hold out, as tokens.
//!
//! | file | what |
//! |---|---|
//! | `files`, `crates` | text in memory, from files, or from Rust sources that every build has |
//! | `documents` | the same one document at a time, JSON lines among them |
//! | `vocabulary` | text to ids: bytes, or any tokenizer |
//! | `tokens`, `token_folder` | ids in memory, or in mapped files that `tokenize` writes |
//! | `conversations` | chats as tokens, and what of them is learned |
//! | `batch`, `loader` | batches of windows and of conversations, step by step |
//! | `training_data` | either kind |

mod batch;
mod conversations;
mod crates;
mod documents;
mod files;
mod loader;
mod shard;
mod token_folder;
mod tokens;
mod training_data;
mod vocabulary;

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tritburn_models::text::{TextError, TokenizerFiles};

use crate::hash::Fnv;

pub use batch::{IGNORED, TokenBatch};
pub use conversations::{Conversation, Conversations};
pub use loader::{Plan, TalkLoader, TrainLoader, ValidLoader};
pub use shard::Shard;
pub use token_folder::{TokenFacts, tokenize};
pub use tokens::{Tokens, Width};
pub use training_data::TrainingData;
pub use vocabulary::Vocabulary;

/// Tokens of the training text that [`Corpus::unigram_nats`] counts.
const COUNTED: usize = 64 << 20;

/// Tokens split in two.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// To train on.
    pub train: Part,
    /// Held out: no document, file or crate is in both.
    pub valid: Part,
    /// What was read, for people.
    pub source: String,
    /// What the tokens are.
    pub vocabulary: Vocabulary,
    /// A number that two different corpora are unlikely to share.
    pub fingerprint: u64,
}

/// Tokens, and the text that they stand for.
#[derive(Clone, Debug)]
pub struct Part {
    /// The ids.
    pub tokens: Tokens,
    /// Bytes of text.
    pub bytes: u64,
}

impl Part {
    /// Bytes of text of a token, on average.
    pub fn bytes_per_token(&self) -> f64 {
        self.bytes as f64 / self.tokens.len() as f64
    }
}

/// Text split in two.
#[derive(Debug)]
struct Text {
    train: Vec<u8>,
    valid: Vec<u8>,
    source: String,
}

impl Corpus {
    /// Reads `path`: a folder that [`tokenize`] wrote, a text or JSON-lines file, or a folder of them;
    /// without one, the Rust sources of crates this program is built from. Text becomes the tokens of
    /// `tokenizer`, a `tokenizer.json` or a folder with one, or bytes.
    ///
    /// The same files give the same corpus: they are read in the order of their names. Both parts have
    /// at least `min_tokens`.
    ///
    /// # Errors
    /// [`DataError`], naming the file.
    pub fn load(
        path: Option<&Path>,
        tokenizer: Option<&Path>,
        min_tokens: usize,
    ) -> Result<Self, DataError> {
        let corpus = match path {
            Some(path) if token_folder::is_token_folder(path) => {
                if let Some(tokenizer) = tokenizer {
                    return Err(DataError::TwoTokenizers {
                        path: path.into(),
                        tokenizer: tokenizer.into(),
                    });
                }
                token_folder::load(path)?
            }
            _ => {
                let text = match path {
                    None => crates::load()?,
                    Some(path) => files::load(path)?,
                };
                Self::of_text(&text, tokenizer)?
            }
        };
        corpus.with_room(min_tokens)
    }

    /// Reads a text or JSON-lines file, or a folder of them, with the tokens of a model.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_as(
        path: &Path,
        vocabulary: Vocabulary,
        min_tokens: usize,
    ) -> Result<Self, DataError> {
        let corpus = Self::of_vocabulary(&files::load(path)?, vocabulary, path)?;
        corpus.with_room(min_tokens)
    }

    /// The corpus, if both parts have `min_tokens`.
    fn with_room(self, min_tokens: usize) -> Result<Self, DataError> {
        let corpus = self;
        for (part, found) in [("training", &corpus.train), ("held-out", &corpus.valid)] {
            if found.tokens.len() < min_tokens {
                return Err(DataError::TooShort {
                    from: corpus.source.clone(),
                    part,
                    tokens: found.tokens.len(),
                    min_tokens,
                });
            }
        }
        Ok(corpus)
    }

    fn of_text(text: &Text, tokenizer: Option<&Path>) -> Result<Self, DataError> {
        let wrong = |reason| DataError::Tokenizer {
            path: tokenizer.map(Into::into).unwrap_or_default(),
            reason,
        };
        let vocabulary = match tokenizer {
            None => Vocabulary::bytes().map_err(wrong)?,
            Some(path) => Vocabulary::load(path)?,
        };
        Self::of_vocabulary(text, vocabulary, tokenizer.unwrap_or(Path::new("")))
    }

    /// Text as tokens of `vocabulary`, which errors name by `path`.
    fn of_vocabulary(text: &Text, vocabulary: Vocabulary, path: &Path) -> Result<Self, DataError> {
        let wrong = |reason| DataError::Tokenizer {
            path: path.into(),
            reason,
        };
        let part = |text: &[u8]| {
            let tokens = vocabulary.encode(text).map_err(wrong)?;
            let bytes = text.len() as u64;
            Ok::<_, DataError>(Part { tokens, bytes })
        };
        let (train, valid) = (part(&text.train)?, part(&text.valid)?);
        let lengths = [text.train.len(), text.valid.len(), vocabulary.size];
        let lengths = lengths.map(|length| (length as u64).to_le_bytes());
        let tokenizer = vocabulary.files.tokenizer.clone().unwrap_or_default();
        let fingerprint = Fnv::default()
            .chain(lengths.as_flattened())
            .chain(&text.train)
            .chain(&text.valid)
            .chain(tokenizer.as_bytes());
        Ok(Self {
            train,
            valid,
            source: text.source.clone(),
            vocabulary,
            fingerprint: fingerprint.finish(),
        })
    }

    /// A byte-level BPE tokenizer of at most `vocabulary` tokens, trained on the text of `path`.
    ///
    /// # Errors
    /// [`DataError`] of the text or of the tokenizer.
    pub fn train_tokenizer(path: &Path, vocabulary: usize) -> Result<TokenizerFiles, DataError> {
        /// Text that is read for it: more changes few merges.
        const MOST: usize = 64 << 20;
        let (mut texts, mut bytes) = (Vec::new(), 0);
        documents::each_document(path, |text, _| {
            bytes += text.len();
            texts.push(text);
            Ok(match bytes < MOST {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            })
        })?;
        TokenizerFiles::train_bpe(texts.into_iter(), vocabulary).map_err(|reason| {
            DataError::Tokenizer {
                path: path.into(),
                reason,
            }
        })
    }

    /// What a model pays that knows nothing but how often each token occurs in the training text: its
    /// mean cross-entropy on `tokens`, in nats a token. A token never seen counts as seen once.
    pub fn unigram_nats(&self, tokens: &[u32]) -> f64 {
        let mut counts = vec![0u64; self.vocabulary.size];
        let train = &self.train.tokens;
        for token in train.window(0, train.len().min(COUNTED)) {
            counts[token as usize] += 1;
        }
        let counts: Vec<f64> = counts.into_iter().map(|n| n.max(1) as f64).collect();
        let total: f64 = counts.iter().sum();
        let nats = |token: &u32| (total / counts[*token as usize]).ln();
        tokens.iter().map(nats).sum::<f64>() / tokens.len() as f64
    }
}

/// Text that cannot be trained on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        reason: io::Error,
    },
    /// A file holds nothing.
    #[error("{} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A file is not text.
    #[error("{} is not text: {reason}", path.display())]
    Binary {
        /// The file.
        path: PathBuf,
        /// How one can tell.
        reason: String,
    },
    /// A folder holds no text file.
    #[error("no text file in {} ({skipped} other files)", path.display())]
    NoText {
        /// The folder.
        path: PathBuf,
        /// Files that are empty or not text.
        skipped: usize,
    },
    /// There is less text than one window.
    #[error("{from}: {tokens} tokens of {part} text; at least {min_tokens} are needed")]
    TooShort {
        /// What was read.
        from: String,
        /// Which part is short.
        part: &'static str,
        /// Its length.
        tokens: usize,
        /// The length needed.
        min_tokens: usize,
    },
    /// A line of a JSON-lines file is no document.
    #[error("{}, line {line}: {reason}", path.display())]
    JsonLine {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The tokenizer cannot be used.
    #[error("the tokenizer of {}", path.display())]
    Tokenizer {
        /// Where it is, or what it was to tokenise.
        path: PathBuf,
        /// What is wrong.
        #[source]
        reason: TextError,
    },
    /// Tokens have a tokenizer already.
    #[error(
        "{} holds tokens, with the tokenizer that made them: leave {} out",
        path.display(),
        tokenizer.display()
    )]
    TwoTokenizers {
        /// The folder of tokens.
        path: PathBuf,
        /// The other tokenizer.
        tokenizer: PathBuf,
    },
    /// A file of tokens ends inside of one.
    #[error("{}: {bytes} bytes are no whole number of tokens of {width} bytes", path.display())]
    TornTokens {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: usize,
        /// Bytes of a token.
        width: usize,
    },
    /// A token that the vocabulary has not.
    #[error("{}: token {at} is {found}, the vocabulary has {vocabulary}", path.display())]
    TokenId {
        /// The file.
        path: PathBuf,
        /// Its place, counted from 0.
        at: usize,
        /// Its id.
        found: u32,
        /// Number of tokens of the vocabulary.
        vocabulary: usize,
    },
    /// A folder of tokens is not what it says.
    #[error("{}: {reason}", path.display())]
    TokenFacts {
        /// Its `tokens.json`.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A folder holds tokens already.
    #[error("{} holds tokens already; choose another folder", path.display())]
    TokensExist {
        /// The folder.
        path: PathBuf,
    },
    /// A model whose tokenizer has no chat template.
    #[error(
        "{} has conversations, and the model no chat template to write them with: give one with \
         --chat-template",
        path.display()
    )]
    NoTemplate {
        /// The conversations.
        path: PathBuf,
    },
    /// Nothing would be held out.
    #[error("{}: {found} documents; one of {needed} is held out, so that many are needed", path.display())]
    TooFewDocuments {
        /// What was read.
        path: PathBuf,
        /// Documents in it.
        found: usize,
        /// The least number.
        needed: usize,
    },
    /// A file or folder cannot be written.
    #[error("cannot write {}", path.display())]
    Unwritable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        reason: io::Error,
    },
    /// The default text is not on this machine.
    #[error("found no Rust sources to train on: {reason}; pass --data <file or folder>")]
    NoCrates {
        /// What was missing.
        reason: String,
    },
}

impl DataError {
    fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |reason| Self::Unreadable { path, reason }
    }

    fn unwritable(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |reason| Self::Unwritable { path, reason }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn corpus(train: &[u8], valid: &[u8]) -> Corpus {
        let text = Text {
            train: train.into(),
            valid: valid.into(),
            source: "test".into(),
        };
        Corpus::of_text(&text, None).unwrap()
    }

    #[test]
    fn the_unigram_cost_of_two_equally_frequent_bytes_is_ln_2_and_a_little() {
        let text = corpus(&b"ab".repeat(1 << 20), b"ab");
        // 254 bytes never seen count once each.
        let expected = ((2.0 * f64::from(1 << 20) + 254.0) / f64::from(1 << 20)).ln();
        let ids = |text: &[u8]| text.iter().map(|byte| u32::from(*byte)).collect::<Vec<_>>();
        assert!((text.unigram_nats(&ids(b"abba")) - expected).abs() < 1e-12);
        assert!(text.unigram_nats(&ids(b"zzzz")) > 14.0);
    }

    #[test]
    fn the_fingerprint_tells_where_the_text_is_split() {
        let (one, other) = (corpus(b"abc", b"def"), corpus(b"abcd", b"ef"));
        assert_ne!(one.fingerprint, other.fingerprint);
        assert_eq!(one.fingerprint, corpus(b"abc", b"def").fingerprint);
    }

    #[test]
    fn text_is_read_with_the_tokenizer_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, "three words here\n".repeat(100)).unwrap();
        let files = Corpus::train_tokenizer(&path, 300).unwrap();
        files.write_to_folder(folder.path()).unwrap();
        let tokenizer = folder.path().join("tokenizer.json");
        let corpus = Corpus::load(Some(&path), Some(&tokenizer), 2).unwrap();
        assert!(corpus.vocabulary.size > 257);
        assert!(corpus.valid.bytes_per_token() > 3.0);
        let bytes = Corpus::load(Some(&path), None, 2).unwrap();
        assert_eq!(bytes.valid.bytes_per_token(), 1.0);
        assert_ne!(bytes.fingerprint, corpus.fingerprint);
        let missing = Corpus::load(Some(&path), Some(&folder.path().join("no.json")), 2);
        assert!(matches!(missing, Err(DataError::Unreadable { .. })));
    }
}
