//! Text to train on and to hold out.

mod crates;
mod files;
mod loader;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::hash::Fnv;

pub use loader::{ByteBatch, Plan, TrainLoader, ValidLoader};

/// Bytes read at most, training and held-out text together.
pub const MAX_BYTES: usize = 24 << 20;

/// Text split in two.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// Text to train on.
    pub train: Arc<[u8]>,
    /// Text held out: no file, or no crate, is in both.
    pub valid: Arc<[u8]>,
    /// What was read, for people.
    pub source: String,
}

impl Corpus {
    /// Reads `path`, a text file or a folder of them; without one, the Rust sources of crates this
    /// program is built from.
    ///
    /// The same files give the same corpus: they are read in the order of their names, up to
    /// [`MAX_BYTES`]. Both parts are at least `min_bytes` long.
    ///
    /// # Errors
    /// [`DataError`], naming the file.
    pub fn load(path: Option<&Path>, min_bytes: usize) -> Result<Self, DataError> {
        let corpus = match path {
            None => crates::load()?,
            Some(path) => files::load(path)?,
        };
        for (part, text) in [("training", &corpus.train), ("held-out", &corpus.valid)] {
            if text.len() < min_bytes {
                let from = corpus.source.clone();
                return Err(DataError::TooShort {
                    from,
                    part,
                    bytes: text.len(),
                    min_bytes,
                });
            }
        }
        Ok(corpus)
    }

    /// A number that two different corpora are unlikely to share.
    pub fn fingerprint(&self) -> u64 {
        let lengths = [self.train.len() as u64, self.valid.len() as u64].map(u64::to_le_bytes);
        Fnv::default()
            .add(lengths.as_flattened())
            .add(&self.train)
            .add(&self.valid)
            .finish()
    }

    /// What a model pays that knows nothing but how often each byte occurs in the training text:
    /// its mean cross-entropy on `text`, in nats a byte. A byte never seen counts as seen once.
    pub fn unigram_nats(&self, text: &[u8]) -> f64 {
        let mut counts = [0u64; 256];
        for byte in self.train.iter() {
            counts[usize::from(*byte)] += 1;
        }
        let counts = counts.map(|count| count.max(1) as f64);
        let total: f64 = counts.iter().sum();
        let nats = |byte: &u8| (total / counts[usize::from(*byte)]).ln();
        text.iter().map(nats).sum::<f64>() / text.len() as f64
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
    #[error("{from}: {bytes} bytes of {part} text; at least {min_bytes} are needed")]
    TooShort {
        /// What was read.
        from: String,
        /// Which part is short.
        part: &'static str,
        /// Its length.
        bytes: usize,
        /// The length needed.
        min_bytes: usize,
    },
    /// The default text is not on this machine.
    #[error("found no Rust sources to train on: {reason}; pass --data <file or folder>")]
    NoCrates {
        /// What was missing.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(train: &[u8], valid: &[u8]) -> Corpus {
        Corpus {
            train: train.into(),
            valid: valid.into(),
            source: "test".into(),
        }
    }

    #[test]
    fn the_unigram_cost_of_two_equally_frequent_bytes_is_ln_2_and_a_little() {
        let text = corpus(&b"ab".repeat(1 << 20), b"ab");
        // 254 bytes never seen count once each.
        let expected = ((2.0 * f64::from(1 << 20) + 254.0) / f64::from(1 << 20)).ln();
        assert!((text.unigram_nats(b"abba") - expected).abs() < 1e-12);
        assert!(text.unigram_nats(b"zzzz") > 14.0);
    }

    #[test]
    fn the_fingerprint_tells_where_the_text_is_split() {
        let (one, other) = (corpus(b"abc", b"def"), corpus(b"abcd", b"ef"));
        assert_ne!(one.fingerprint(), other.fingerprint());
        assert_eq!(one.fingerprint(), corpus(b"abc", b"def").fingerprint());
    }
}
