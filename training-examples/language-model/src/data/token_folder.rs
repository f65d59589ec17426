//! Folders of tokens: `train.bin`, `valid.bin`, `tokens.json`, and the tokenizer they were made with.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tritburn_models::text::TokenizerFiles;

use super::documents::{bytes_of, each_document};
use super::files::HELD_OUT;
use super::tokens::Width;
use super::{Corpus, DataError, Part, Tokens, Vocabulary};
use crate::atomic;
use crate::hash::Fnv;

/// Where what the folder holds is written down. Written last: a folder without it is none.
const FACTS: &str = "tokens.json";
/// Text that is tokenised at once, by all threads.
const BATCH: usize = 16 << 20;
/// Time between two lines of progress.
const INTERVAL: Duration = Duration::from_secs(2);

/// What `tokens.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenFacts {
    /// What was tokenised, for people.
    pub source: String,
    /// Number of tokens of the tokenizer.
    pub vocabulary: usize,
    /// Tokens to train on.
    pub train_tokens: usize,
    /// Tokens held out.
    pub valid_tokens: usize,
    /// Bytes of text of the first.
    pub train_bytes: u64,
    /// Bytes of text of the second.
    pub valid_bytes: u64,
    /// Checksum of the ids, training first.
    pub fingerprint: String,
}

/// Whether `path` is a folder of tokens.
pub(super) fn is_token_folder(path: &Path) -> bool {
    path.join(FACTS).is_file()
}

/// Maps the tokens of a folder.
pub(super) fn load(folder: &Path) -> Result<Corpus, DataError> {
    let path = folder.join(FACTS);
    let text = fs::read_to_string(&path).map_err(DataError::unreadable(&path))?;
    let damaged = |reason: String| DataError::TokenFacts {
        path: path.clone(),
        reason,
    };
    let facts: TokenFacts =
        serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    let vocabulary = match folder.join("tokenizer.json").is_file() {
        true => Vocabulary::load(folder)?,
        false => return Err(damaged("there is no tokenizer.json beside it".into())),
    };
    if vocabulary.size != facts.vocabulary {
        return Err(damaged(format!(
            "it was written for {} tokens, the tokenizer beside it has {}",
            facts.vocabulary, vocabulary.size
        )));
    }
    let width = Width::of(facts.vocabulary);
    let part = |name: &str, expected: usize, bytes: u64| {
        let file = folder.join(name);
        let tokens = Tokens::map(&file, width, facts.vocabulary)?;
        if tokens.len() != expected {
            return Err(damaged(format!(
                "it promises {expected} tokens in {name}, which has {}",
                tokens.len()
            )));
        }
        Ok(Part { tokens, bytes })
    };
    let fingerprint = u64::from_str_radix(&facts.fingerprint, 16)
        .map_err(|error| damaged(format!("its fingerprint: {error}")))?;
    Ok(Corpus {
        train: part("train.bin", facts.train_tokens, facts.train_bytes)?,
        valid: part("valid.bin", facts.valid_tokens, facts.valid_bytes)?,
        source: facts.source,
        vocabulary,
        fingerprint,
    })
}

/// Tokenises `data`, a file or a folder of them, into `folder`. Every tenth document is held out.
/// Memory does not grow with the text; a line says every two seconds how far it is.
///
/// # Errors
/// [`DataError`]: a file, the tokenizer, a folder that holds tokens already or cannot be written.
pub fn tokenize(
    data: &Path,
    vocabulary: &Vocabulary,
    folder: &Path,
) -> Result<TokenFacts, DataError> {
    if is_token_folder(folder) {
        return Err(DataError::TokensExist {
            path: folder.into(),
        });
    }
    fs::create_dir_all(folder).map_err(DataError::unwritable(folder))?;
    let width = Width::of(vocabulary.size);
    let mut writer = Writer {
        vocabulary,
        train: Output::create(folder.join("train.bin"), width)?,
        valid: Output::create(folder.join("valid.bin"), width)?,
        documents: 0,
        batch: Vec::new(),
        batched: 0,
    };
    let total = bytes_of(data)?;
    let (begun, mut printed) = (Instant::now(), Instant::now());
    each_document(data, |text, read| {
        writer.add(text)?;
        if printed.elapsed() >= INTERVAL {
            printed = Instant::now();
            let rate = read as f64 / begun.elapsed().as_secs_f64();
            let left = (total - read.min(total)) as f64 / rate.max(1.0);
            println!(
                "{:.0} of {:.0} MB  {:.1} MB/s  {left:.0} s left",
                read as f64 * 1e-6,
                total as f64 * 1e-6,
                rate * 1e-6
            );
        }
        Ok(ControlFlow::Continue(()))
    })?;
    writer.flush()?;
    let (train, valid) = (writer.train.finish()?, writer.valid.finish()?);
    if train.tokens == 0 || valid.tokens == 0 {
        return Err(DataError::TooFewDocuments {
            path: data.into(),
            found: writer.documents,
            needed: HELD_OUT,
        });
    }
    let facts = TokenFacts {
        source: data.display().to_string(),
        vocabulary: vocabulary.size,
        train_tokens: train.tokens,
        valid_tokens: valid.tokens,
        train_bytes: train.bytes,
        valid_bytes: valid.bytes,
        fingerprint: format!(
            "{:016x}",
            train.sum.chain(&valid.sum.finish().to_le_bytes()).finish()
        ),
    };
    let files = &vocabulary.files;
    let text_error = |reason| DataError::Tokenizer {
        path: folder.into(),
        reason,
    };
    TokenizerFiles::write_to_folder(files, folder).map_err(text_error)?;
    let path = folder.join(FACTS);
    let json = serde_json::to_string_pretty(&facts).expect("plain fields");
    atomic::write(&path, json.as_bytes()).map_err(DataError::unwritable(&path))?;
    Ok(facts)
}

/// Documents on their way into two files.
struct Writer<'a> {
    vocabulary: &'a Vocabulary,
    train: Output,
    valid: Output,
    documents: usize,
    batch: Vec<String>,
    batched: usize,
}

impl Writer<'_> {
    fn add(&mut self, text: String) -> Result<(), DataError> {
        self.batched += text.len();
        self.batch.push(text);
        match self.batched >= BATCH {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Tokenises what waits.
    fn flush(&mut self) -> Result<(), DataError> {
        let batch = std::mem::take(&mut self.batch);
        self.batched = 0;
        let ids: Result<Vec<Vec<u32>>, _> = batch
            .par_iter()
            .map(|text| self.vocabulary.encode_document(text))
            .collect();
        let ids = ids.map_err(|reason| DataError::Tokenizer {
            path: self.train.path.clone(),
            reason,
        })?;
        for (text, ids) in batch.iter().zip(ids) {
            let output = match self.documents % HELD_OUT == HELD_OUT - 1 {
                true => &mut self.valid,
                false => &mut self.train,
            };
            output.write(&ids, text.len())?;
            self.documents += 1;
        }
        Ok(())
    }
}

/// One file of ids.
struct Output {
    path: PathBuf,
    file: BufWriter<File>,
    width: Width,
    tokens: usize,
    bytes: u64,
    sum: Fnv,
}

impl Output {
    fn create(path: PathBuf, width: Width) -> Result<Self, DataError> {
        let file = File::create(&path).map_err(DataError::unwritable(&path))?;
        Ok(Self {
            file: BufWriter::with_capacity(1 << 20, file),
            path,
            width,
            tokens: 0,
            bytes: 0,
            sum: Fnv::default(),
        })
    }

    fn write(&mut self, ids: &[u32], bytes: usize) -> Result<(), DataError> {
        let mut encoded = Vec::with_capacity(ids.len() * self.width.bytes());
        for id in ids {
            encoded.extend(&id.to_le_bytes()[..self.width.bytes()]);
        }
        self.file
            .write_all(&encoded)
            .map_err(DataError::unwritable(&self.path))?;
        self.sum = self.sum.chain(&encoded);
        self.tokens += ids.len();
        self.bytes += bytes as u64;
        Ok(())
    }

    /// Writes what is left, down to the disk.
    fn finish(mut self) -> Result<Self, DataError> {
        let done = self
            .file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all());
        done.map_err(DataError::unwritable(&self.path))?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let lines: String = (0..count)
            .map(|i| format!("{{\"text\":\"document number {i}\"}}\n"))
            .collect();
        fs::write(&path, lines).unwrap();
        (folder, path)
    }

    #[test]
    fn what_was_tokenised_is_loaded_again() {
        let (folder, path) = lines(25);
        let out = folder.path().join("out");
        let facts = tokenize(&path, &Vocabulary::bytes().unwrap(), &out).unwrap();
        let corpus = load(&out).unwrap();
        let read = |part: &Part| -> Vec<u8> {
            let ids = part.tokens.window(0, part.tokens.len());
            ids.map(|id| id as u8).collect()
        };
        assert_eq!(
            read(&corpus.valid),
            b"document number 9\ndocument number 19\n"
        );
        assert!(read(&corpus.train).starts_with(b"document number 0\ndocument number 1\n"));
        assert_eq!(facts.valid_bytes, 35);
        assert_eq!((facts.vocabulary, corpus.vocabulary.size), (256, 256));
        let again = tokenize(&path, &Vocabulary::bytes().unwrap(), &out).unwrap_err();
        assert!(matches!(again, DataError::TokensExist { .. }));
    }

    #[test]
    fn a_folder_that_does_not_hold_what_it_promises_is_refused() {
        let (folder, path) = lines(25);
        let out = folder.path().join("out");
        tokenize(&path, &Vocabulary::bytes().unwrap(), &out).unwrap();
        let bin = out.join("valid.bin");
        let whole = fs::read(&bin).unwrap();
        fs::write(&bin, &whole[..whole.len() - 2]).unwrap();
        let error = load(&out).unwrap_err();
        assert!(matches!(error, DataError::TokenFacts { .. }), "{error}");
        fs::write(&bin, &whole[..whole.len() - 1]).unwrap();
        assert!(matches!(
            load(&out).unwrap_err(),
            DataError::TornTokens { .. }
        ));
    }

    #[test]
    fn too_few_documents_leave_nothing_to_hold_out() {
        let (folder, path) = lines(9);
        let bytes = Vocabulary::bytes().unwrap();
        let error = tokenize(&path, &bytes, &folder.path().join("out")).unwrap_err();
        assert!(matches!(error, DataError::TooFewDocuments { found: 9, .. }));
        assert!(!is_token_folder(&folder.path().join("out")));
    }
}
