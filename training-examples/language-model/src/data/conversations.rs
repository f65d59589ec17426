//! Conversations to fine-tune on: tokens, and which of them the assistant says.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use tritburn_models::text::{ChatTemplate, Message, Tokenizer};

use super::documents::is_json_lines;
use super::{DataError, Vocabulary};
use crate::hash::Fnv;

/// One conversation of this many is held out.
const HELD_OUT: usize = 20;

/// A conversation as the chat template writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// Its tokens.
    pub ids: Vec<u32>,
    /// Whether the assistant says a token, the one that ends its turn included: those are learned.
    pub said: Vec<bool>,
}

impl Conversation {
    /// Tokens that are learned: the first is behind nothing.
    pub fn learned(&self) -> usize {
        self.said.iter().skip(1).filter(|&&said| said).count()
    }
}

/// Conversations split in two.
#[derive(Clone, Debug)]
pub struct Conversations {
    /// To train on.
    pub train: Arc<[Conversation]>,
    /// Held out.
    pub valid: Arc<[Conversation]>,
    /// What was read, for people.
    pub source: String,
    /// What the tokens are.
    pub vocabulary: Vocabulary,
    /// A number that two different sets are unlikely to share.
    pub fingerprint: u64,
}

/// A line of the file.
#[derive(Deserialize)]
struct Line {
    messages: Option<Vec<Turn>>,
}

#[derive(Deserialize)]
struct Turn {
    role: String,
    content: String,
}

impl Conversations {
    /// Whether a file is JSON lines of `messages`: its first line is.
    ///
    /// # Errors
    /// [`DataError::Unreadable`].
    pub fn are_in(path: &Path) -> Result<bool, DataError> {
        if path.is_dir() || !is_json_lines(path) {
            return Ok(false);
        }
        let file = File::open(path).map_err(DataError::unreadable(path))?;
        for line in BufReader::new(file).lines() {
            let line = line.map_err(DataError::unreadable(path))?;
            if !line.trim().is_empty() {
                let fields: Result<serde_json::Value, _> = serde_json::from_str(&line);
                return Ok(fields.is_ok_and(|fields| fields.get("messages").is_some()));
            }
        }
        Ok(false)
    }

    /// Reads the conversations of a JSON-lines file, one a line: `messages` of `role` and `content`, as
    /// chat templates take them. Text that spells a special token is text. What is longer than
    /// `context + 1` tokens is cut there; a conversation of which the assistant says nothing before is
    /// left out, and told.
    ///
    /// # Errors
    /// [`DataError::JsonLine`] for a line without an answer of the assistant, or one that the template
    /// refuses; [`DataError::NoTemplate`], [`DataError::TooFewDocuments`].
    pub fn load(path: &Path, vocabulary: Vocabulary, context: usize) -> Result<Self, DataError> {
        let wrong = |reason| DataError::Tokenizer {
            path: path.into(),
            reason,
        };
        let template = ChatTemplate::from_files(&vocabulary.files).map_err(wrong)?;
        let template = template.ok_or(DataError::NoTemplate { path: path.into() })?;
        let tokenizer = Tokenizer::from_files(&vocabulary.files).map_err(wrong)?;
        let file = File::open(path).map_err(DataError::unreadable(path))?;
        let (mut all, mut cut, mut left_out) = (Vec::new(), 0, 0);
        let mut fingerprint = Fnv::default();
        for (number, line) in (1..).zip(BufReader::new(file).lines()) {
            let line = line.map_err(DataError::unreadable(path))?;
            if line.trim().is_empty() {
                continue;
            }
            fingerprint = fingerprint.chain(line.as_bytes());
            let conversation = conversation_of(&line, &template, &tokenizer);
            let mut conversation = conversation.map_err(|reason| DataError::JsonLine {
                path: path.into(),
                line: number,
                reason,
            })?;
            // The template and the tokenizer decide them too.
            for id in &conversation.ids {
                fingerprint = fingerprint.chain(&id.to_le_bytes());
            }
            if conversation.ids.len() > context + 1 {
                conversation.ids.truncate(context + 1);
                conversation.said.truncate(context + 1);
                cut += 1;
            }
            match conversation.learned() {
                0 => left_out += 1,
                _ => all.push(conversation),
            }
        }
        if cut > 0 {
            tracing::warn!(
                cut,
                left_out,
                "conversations of more than {} tokens are cut; a larger --context keeps them",
                context + 1
            );
        }
        if all.len() < 2 {
            return Err(DataError::TooFewDocuments {
                path: path.into(),
                found: all.len(),
                needed: 2,
            });
        }
        let source = format!("{} conversations of {}", all.len(), path.display());
        // At least one is held out.
        let held_out = HELD_OUT.min(all.len());
        let (valid, train): (Vec<_>, Vec<_>) = all
            .into_iter()
            .enumerate()
            .partition(|(index, _)| index % held_out == held_out - 1);
        let part = |part: Vec<(usize, Conversation)>| part.into_iter().map(|(_, c)| c).collect();
        let fingerprint = fingerprint.chain(&(context as u64).to_le_bytes());
        Ok(Self {
            train: part(train),
            valid: part(valid),
            source,
            vocabulary,
            fingerprint: fingerprint.finish(),
        })
    }
}

/// The tokens of a line. Text is cut where the assistant begins and ends to speak, and each piece is
/// tokenised by itself: those are the places where templates have special tokens.
fn conversation_of(
    line: &str,
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
) -> Result<Conversation, String> {
    let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let turns = line.messages.ok_or("it has no `messages`")?;
    let guarded = |turn: &Turn| Message::new(turn.role.clone(), tokenizer.guard(&turn.content));
    let messages: Vec<Message> = turns.iter().map(guarded).collect();
    let render = |count: usize, prompt: bool| {
        let text = template.render(&messages[..count], prompt);
        text.map_err(|error| crate::error::chain(&error))
    };
    let (mut ids, mut said, mut written) = (Vec::new(), Vec::new(), String::new());
    for index in (0..turns.len()).filter(|&index| turns[index].role == "assistant") {
        let (before, after) = (render(index, true)?, render(index + 1, false)?);
        for (text, is_said) in [(before, false), (after, true)] {
            let new = text.strip_prefix(&written).ok_or_else(|| {
                format!("the chat template writes turn {index} otherwise once more follows")
            })?;
            let new = tokenizer.encode_rendered(new);
            let new = new.map_err(|error| crate::error::chain(&error))?;
            said.resize(said.len() + new.len(), is_said);
            ids.extend(new);
            written = text;
        }
    }
    match said.contains(&true) {
        true => Ok(Conversation { ids, said }),
        false => Err("its `messages` have no turn of the assistant".into()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tritburn_models::text::TokenizerFiles;

    use super::*;

    fn vocabulary() -> Vocabulary {
        let toy = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../crates/tritburn-models/tests/data/bitnet-tiny/bf16");
        Vocabulary::from_files(TokenizerFiles::from_folder(&toy).unwrap()).unwrap()
    }

    fn written(lines: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talk.jsonl");
        std::fs::write(&path, lines).unwrap();
        (folder, path)
    }

    const TALK: &str = r#"{"messages":[{"role":"user","content":"Hi <|eot_id|>"},{"role":"assistant","content":"Hello"},{"role":"user","content":"Again"},{"role":"assistant","content":"Yes"}]}"#;

    #[test]
    fn only_what_the_assistant_says_is_learned() {
        let (_folder, path) = written(&format!("{TALK}\n\n{TALK}\n"));
        assert!(Conversations::are_in(&path).unwrap());
        let talks = Conversations::load(&path, vocabulary(), 200).unwrap();
        assert_eq!((talks.train.len(), talks.valid.len()), (1, 1));
        let Conversation { ids, said } = &talks.train[0];
        assert_eq!(ids.len(), said.len());
        let tokenizer = Tokenizer::from_files(&talks.vocabulary.files).unwrap();
        let learned: Vec<u32> = ids
            .iter()
            .zip(said)
            .filter(|(_, s)| **s)
            .map(|(id, _)| *id)
            .collect();
        let text = tokenizer.decode(&learned).unwrap();
        assert!(text.contains("Hello") && text.contains("Yes"), "{text}");
        assert!(!text.contains("Hi") && !text.contains("Again"), "{text}");
        // The end of each turn is learned; the one that the user spells is text.
        let end = tokenizer.token_to_id("<|eot_id|>").unwrap();
        assert_eq!(learned.iter().filter(|&&id| id == end).count(), 2);
        assert_eq!(ids.iter().filter(|&&id| id == end).count(), 4);
    }

    #[test]
    fn long_conversations_are_cut_and_empty_ones_left_out() {
        let (_folder, path) = written(&[TALK; 3].join("\n"));
        let whole = Conversations::load(&path, vocabulary(), 200).unwrap();
        let length = whole.train[0].ids.len();
        // Three tokens less than there are.
        let talks = Conversations::load(&path, vocabulary(), length - 4).unwrap();
        assert!(talks.train.iter().all(|talk| talk.ids.len() == length - 3));
        assert!(talks.train[0].learned() < whole.train[0].learned());
        let none = Conversations::load(&path, vocabulary(), 3);
        assert!(matches!(
            none,
            Err(DataError::TooFewDocuments { found: 0, .. })
        ));
    }

    #[test]
    fn lines_without_an_answer_are_refused_by_number() {
        for (second, reason) in [
            (
                r#"{"messages":[{"role":"user","content":"Hi"}]}"#,
                "no turn of the assistant",
            ),
            (r#"{"text":"Hi"}"#, "no `messages`"),
            (r#"{"messages":[{"role":"user"}]}"#, "content"),
        ] {
            let (_folder, path) = written(&format!("{TALK}\n{second}\n"));
            let error = Conversations::load(&path, vocabulary(), 200).unwrap_err();
            let DataError::JsonLine {
                line: 2,
                reason: found,
                ..
            } = &error
            else {
                panic!("{error}");
            };
            assert!(found.contains(reason), "{found}");
        }
    }
}
