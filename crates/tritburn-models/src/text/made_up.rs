//! The tokenizer of models that were never given one.

use serde_json::{Value, json};

use super::{TextError, TokenizerFiles};

const BYTES: usize = 256;
const CONSONANTS: [char; 20] = [
    'b', 'd', 'f', 'g', 'h', 'j', 'k', 'l', 'm', 'n', 'p', 'q', 'r', 's', 't', 'v', 'w', 'x', 'y',
    'z',
];
const VOWELS: [char; 5] = ['a', 'e', 'i', 'o', 'u'];
/// The space of a word as byte-level BPE writes it.
const SPACE: char = '\u{120}';
/// A chat for models that know none.
const TEMPLATE: &str = "{% for message in messages %}\
    {{ message['role'] + ': ' + message['content'] + '\\n' }}{% endfor %}\
    {% if tools %}{{ 'tools: ' + tools | tojson + '\\n' }}{% endif %}\
    {% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}";

impl TokenizerFiles {
    /// Text for random weights: bytes as the first 256 tokens, as in [`bytes`](Self::bytes), and a
    /// made-up word, a space before it, for each other one of `vocabulary`. What is encoded becomes
    /// bytes; what such a model gives can be read aloud. There is a chat template that takes tools.
    ///
    /// # Errors
    /// [`TextError::Vocabulary`] for less than 256 tokens.
    pub fn made_up(vocabulary: usize) -> Result<Self, TextError> {
        if vocabulary < BYTES {
            return Err(TextError::Vocabulary {
                found: vocabulary,
                least: BYTES,
            });
        }
        let mut files = Self::bytes()?;
        let mut tokenizer = files.tokenizer_json()?;
        if let Value::Object(tokens) = &mut tokenizer["model"]["vocab"] {
            let words = (BYTES..vocabulary).map(|id| (word(id - BYTES), json!(id)));
            tokens.extend(words);
        }
        files.tokenizer = Some(tokenizer.to_string());
        files.chat_template = Some(TEMPLATE.into());
        Ok(files)
    }
}

/// The word of a number: a syllable a digit, to the base of 100.
fn word(number: usize) -> String {
    let syllables = CONSONANTS.len() * VOWELS.len();
    let mut digits = vec![number % syllables];
    let mut rest = number / syllables;
    while rest > 0 {
        digits.push(rest % syllables);
        rest /= syllables;
    }
    let mut word = String::from(SPACE);
    for digit in digits.into_iter().rev() {
        word.push(CONSONANTS[digit / VOWELS.len()]);
        word.push(VOWELS[digit % VOWELS.len()]);
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{ChatTemplate, Message, Tokenizer};

    #[test]
    fn bytes_go_in_and_words_come_out() {
        let files = TokenizerFiles::made_up(1000).unwrap();
        let tokenizer = Tokenizer::from_files(&files).unwrap();
        assert_eq!(tokenizer.vocab_size(), 1000);
        assert_eq!(tokenizer.encode(" ba").unwrap(), [32, 98, 97]);
        assert_eq!(
            tokenizer.decode(&[256, 255 + 101, 999]).unwrap(),
            " ba beba dimo"
        );
    }

    #[test]
    fn a_conversation_can_be_rendered() {
        let files = TokenizerFiles::made_up(256).unwrap();
        let template = ChatTemplate::from_files(&files).unwrap().unwrap();
        let text = template.render(&[Message::new("user", "a")], true).unwrap();
        assert_eq!(text, "user: a\nassistant:");
        let tools = json!([{ "type": "function" }]);
        let messages = json!([{ "role": "user", "content": "a" }]);
        let text = template.render_json(&messages, &tools, true).unwrap();
        assert_eq!(
            text,
            "user: a\ntools: [{\"type\": \"function\"}]\nassistant:"
        );
    }

    #[test]
    fn a_vocabulary_without_all_bytes_is_refused() {
        let error = TokenizerFiles::made_up(255).unwrap_err();
        assert!(matches!(
            error,
            TextError::Vocabulary {
                found: 255,
                least: 256
            }
        ));
    }
}
