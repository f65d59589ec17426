//! The tokenizer of models that read and write bytes.

use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::BPE;

use super::{TextError, TokenizerFiles};

impl TokenizerFiles {
    /// Bytes as tokens: 256 of them, each with its value as id, no special ones. As byte-level BPE
    /// without merges it is a tokenizer for every reader of `tokenizer.json`, and GGUF can hold it.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] if the tokenizer library does not take its own parts.
    pub fn bytes() -> Result<Self, TextError> {
        let vocabulary: [(String, u32); 256] =
            std::array::from_fn(|byte| (letter(byte as u8).to_string(), byte as u32));
        let model = BPE::builder()
            .vocab_and_merges(vocabulary, Vec::new())
            .build()
            .map_err(TextError::Tokenizer)?;
        let mut tokenizer = tokenizers::Tokenizer::new(model);
        let byte_level = ByteLevel::default().add_prefix_space(false);
        tokenizer
            .with_pre_tokenizer(Some(byte_level))
            .with_decoder(Some(byte_level));
        Ok(Self {
            tokenizer: Some(tokenizer.to_string(true).map_err(TextError::Tokenizer)?),
            ..Self::default()
        })
    }
}

/// The letter that byte-level BPE writes a byte as (Radford et al. 2019, GPT-2): printable ones of
/// Latin-1 as they are, the others as letters from U+0100 on, in their order.
fn letter(byte: u8) -> char {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match printable(&byte) {
        true => char::from(byte),
        false => {
            let before = (0..byte).filter(|byte| !printable(byte)).count();
            // At most 68 bytes are not printable.
            char::from_u32(0x100 + before as u32).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Tokenizer;

    #[test]
    fn every_byte_of_a_text_is_the_token_of_its_value() {
        let tokenizer = Tokenizer::from_files(&TokenizerFiles::bytes().unwrap()).unwrap();
        assert_eq!(tokenizer.vocab_size(), 256);
        let every: String = (1..0x500).filter_map(char::from_u32).collect();
        for text in [
            "fn main() {\n\t\"€ 5\"\r\n}  ",
            "",
            "\u{1F980} don't",
            &every,
        ] {
            let ids = tokenizer.encode(text).unwrap();
            let bytes: Vec<u32> = text.bytes().map(u32::from).collect();
            assert_eq!(ids, bytes);
            assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        }
    }

    #[test]
    fn each_byte_has_a_letter_of_its_own() {
        let letters: std::collections::HashSet<char> = (0..=255).map(letter).collect();
        assert_eq!(letters.len(), 256);
        let alphabet = ByteLevel::alphabet();
        assert!(letters.iter().all(|letter| alphabet.contains(letter)));
    }
}
