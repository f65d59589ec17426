//! A tokenizer of one's own.

use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::{AddedToken, Tokenizer};

use super::{TextError, TokenizerFiles};

/// The token between documents, as GPT-2 writes it.
const END_OF_TEXT: &str = "<|endoftext|>";

impl TokenizerFiles {
    /// A byte-level BPE tokenizer (Radford et al. 2019, GPT-2) of at most `vocabulary` tokens, trained on
    /// `texts`: the 256 bytes, `<|endoftext|>`, which ends a document, and as many merges as fit and
    /// occur twice. It can write every text.
    ///
    /// # Errors
    /// [`TextError::Vocabulary`] if it is smaller than bytes and end, [`TextError::Tokenizer`].
    pub fn train_bpe<S: AsRef<str> + Send>(
        texts: impl Iterator<Item = S> + Send,
        vocabulary: usize,
    ) -> Result<Self, TextError> {
        let least = 257;
        if vocabulary < least {
            return Err(TextError::Vocabulary {
                found: vocabulary,
                least,
            });
        }
        let trainer = BpeTrainer::builder()
            .vocab_size(vocabulary)
            .min_frequency(2)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
            .build();
        let mut tokenizer = Tokenizer::new(BPE::default());
        let byte_level = ByteLevel::default().add_prefix_space(false);
        tokenizer
            .with_pre_tokenizer(Some(byte_level))
            .with_decoder(Some(byte_level));
        tokenizer
            .train(&mut TrainerWrapper::from(trainer), texts)
            .map_err(TextError::Tokenizer)?;
        let config = serde_json::json!({ "eos_token": END_OF_TEXT });
        Ok(Self {
            tokenizer: Some(tokenizer.to_string(true).map_err(TextError::Tokenizer)?),
            tokenizer_config: Some(config.to_string()),
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Tokenizer;

    #[test]
    fn frequent_words_are_tokens_and_every_text_comes_back() {
        let texts = ["the cat and the dog and the cat\n"; 20];
        let files = TokenizerFiles::train_bpe(texts.iter(), 280).unwrap();
        let tokenizer = Tokenizer::from_files(&files).unwrap();
        assert!(tokenizer.vocab_size() <= 280);
        assert_eq!(tokenizer.encode(" the").unwrap().len(), 1);
        assert_eq!(tokenizer.eos_token(), Some("<|endoftext|>"));
        assert_eq!(files.eos_ids().unwrap(), [0]);
        for text in ["the € cat\r\n\t", "", "\u{1F980} x"] {
            let ids = tokenizer.encode(text).unwrap();
            assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        }
    }

    #[test]
    fn a_vocabulary_without_room_for_bytes_is_refused() {
        let error = TokenizerFiles::train_bpe(["x"].iter(), 256).unwrap_err();
        assert!(matches!(error, TextError::Vocabulary { found: 256, .. }));
    }
}
