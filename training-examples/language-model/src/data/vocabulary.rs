//! What turns text into tokens.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use tritburn_models::text::{BulkEncoder, TextError, Tokenizer, TokenizerFiles};

use super::{DataError, Tokens};

/// Bytes of text that are tokenised at once, by one thread.
const CHUNK: usize = 1 << 20;

/// The tokens of a model.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// Number of tokens, gaps between their ids included.
    pub size: usize,
    /// The tokenizer, as a model's folder holds it.
    pub files: TokenizerFiles,
    /// What turns text into ids, where it is not every byte as it is.
    encoder: Option<Arc<BulkEncoder>>,
}

impl Vocabulary {
    /// The 256 bytes.
    ///
    /// # Errors
    /// [`TextError`] if the tokenizer library does not take its own parts.
    pub fn bytes() -> Result<Self, TextError> {
        Ok(Self {
            size: 256,
            files: TokenizerFiles::bytes()?,
            encoder: None,
        })
    }

    /// The tokens of a `tokenizer.json`, or of a folder with one.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`], naming the path.
    pub fn load(path: &Path) -> Result<Self, DataError> {
        let wrong = |reason| DataError::Tokenizer {
            path: path.into(),
            reason,
        };
        let folder: PathBuf = match path.is_dir() {
            true => path.into(),
            false => path.parent().map(Into::into).unwrap_or_default(),
        };
        let mut files = TokenizerFiles::from_folder(&folder).map_err(wrong)?;
        if !path.is_dir() {
            let text = std::fs::read_to_string(path).map_err(DataError::unreadable(path))?;
            files.tokenizer = Some(text);
        }
        Self::from_files(files).map_err(wrong)
    }

    /// The tokens of a tokenizer.
    ///
    /// # Errors
    /// [`TextError`] if there is none, or it cannot be read.
    pub fn from_files(files: TokenizerFiles) -> Result<Self, TextError> {
        let tokenizer = Tokenizer::from_files(&files)?;
        Ok(Self {
            size: tokenizer.id_count(),
            files,
            encoder: Some(Arc::new(BulkEncoder::new(tokenizer)?)),
        })
    }

    /// The ids of a whole text, which is cut at line ends for the threads of this machine. What is not
    /// UTF-8 becomes U+FFFD, unless tokens are bytes.
    ///
    /// # Errors
    /// [`TextError`] of the tokenizer.
    pub fn encode(&self, text: &[u8]) -> Result<Tokens, TextError> {
        let Some(encoder) = &self.encoder else {
            return Ok(Tokens::of_bytes(text));
        };
        let parts: Result<Vec<Vec<u32>>, TextError> = pieces(text)
            .par_iter()
            .map(|piece| encoder.encode(&String::from_utf8_lossy(piece)))
            .collect();
        Ok(Tokens::Held(parts?.concat().into()))
    }

    /// The ids of one document, and of the token that ends it where the tokenizer has one.
    ///
    /// # Errors
    /// [`TextError`] of the tokenizer.
    pub fn encode_document(&self, text: &str) -> Result<Vec<u32>, TextError> {
        let Some(encoder) = &self.encoder else {
            return Ok(text.bytes().map(u32::from).chain([b'\n'.into()]).collect());
        };
        let mut ids = Vec::new();
        for piece in pieces(text.as_bytes()) {
            ids.extend(encoder.encode(&String::from_utf8_lossy(piece))?);
        }
        let tokenizer = encoder.tokenizer();
        let end = tokenizer
            .eos_token()
            .and_then(|eos| tokenizer.token_to_id(eos));
        ids.extend(end);
        Ok(ids)
    }
}

/// Parts of about [`CHUNK`] bytes that end with a line, where there are lines.
fn pieces(text: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > CHUNK {
        let end = rest[..CHUNK].iter().rposition(|byte| *byte == b'\n');
        // Without a line end: before a byte that begins a character.
        let end = end.map(|at| at + 1).unwrap_or_else(|| {
            let begins = |at: &usize| rest[*at] & 0xc0 != 0x80;
            (1..=CHUNK).rev().take(4).find(begins).unwrap_or(CHUNK)
        });
        let (piece, left) = rest.split_at(end);
        pieces.push(piece);
        rest = left;
    }
    pieces.push(rest);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_with_lines_and_lose_nothing() {
        let text = "a line of some length, and é\n".repeat(150_000);
        let cut = pieces(text.as_bytes());
        assert!(cut.len() > 3);
        assert_eq!(cut.concat(), text.as_bytes());
        assert!(
            cut.iter()
                .all(|piece| piece.ends_with(b"\n") || piece.is_empty())
        );
        let long = "é".repeat(CHUNK);
        let cut = pieces(long.as_bytes());
        assert!(cut.iter().all(|piece| std::str::from_utf8(piece).is_ok()));
        assert_eq!(cut.concat(), long.as_bytes());
    }

    #[test]
    fn bytes_are_tokens_of_their_value() {
        let bytes = Vocabulary::bytes().unwrap();
        let tokens = bytes.encode(&[0xff, b'a']).unwrap();
        assert_eq!(tokens.window(0, 2).collect::<Vec<_>>(), [255, 97]);
        assert_eq!(bytes.encode_document("a").unwrap(), [97, 10]);
    }

    #[test]
    fn a_tokenizer_gives_its_ids_and_ends_documents() {
        let texts = ["one two two three three three\n"; 8];
        let files = TokenizerFiles::train_bpe(texts.iter(), 300).unwrap();
        let vocabulary = Vocabulary::from_files(files).unwrap();
        assert!(vocabulary.size > 257 && vocabulary.size <= 300);
        let document = vocabulary.encode_document("two three").unwrap();
        let text = vocabulary.encode(b"two three").unwrap();
        assert_eq!(document.len(), text.len() + 1);
        assert!(text.len() < 9);
    }

    #[test]
    fn gaps_between_ids_count_as_tokens() {
        let json = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],
            "normalizer":null,"pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,
            "model":{"type":"WordLevel","vocab":{"<unk>":0,"a":7},"unk_token":"<unk>"}}"#;
        let files = TokenizerFiles {
            tokenizer: Some(json.into()),
            ..TokenizerFiles::default()
        };
        assert_eq!(Vocabulary::from_files(files).unwrap().size, 8);
    }
}
