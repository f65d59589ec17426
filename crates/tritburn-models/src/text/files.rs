//! The files around a tokenizer.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use tritburn_formats::file::is_lfs_pointer;

use super::special::token_text;
use super::{TextError, sentencepiece};
use crate::config::DecoderConfig;

/// Llama 3's `tokenizer.json`, the largest known, has 17 MB.
const MAX_BYTES: u64 = 256 << 20;

/// What a checkpoint says about its text, as the files of a Hugging Face folder. A format without
/// folders is read into the same form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenizerFiles {
    /// `tokenizer.json`.
    pub tokenizer: Option<String>,
    /// `tokenizer_config.json`.
    pub tokenizer_config: Option<String>,
    /// `chat_template.jinja`; older folders have the template in `tokenizer_config.json`.
    pub chat_template: Option<String>,
    /// `special_tokens_map.json`: the special tokens, where older folders have them.
    pub special_tokens_map: Option<String>,
    /// `added_tokens.json`: tokens beside the vocabulary, in older folders.
    pub added_tokens: Option<String>,
    /// `generation_config.json`, which may name more tokens that end a sequence.
    pub generation_config: Option<String>,
}

impl TokenizerFiles {
    /// Names of the files, in the order of the fields.
    pub(crate) const NAMES: [&str; 6] = [
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "special_tokens_map.json",
        "added_tokens.json",
        "generation_config.json",
    ];

    /// Those files that a folder has. Where there is no `tokenizer.json`, SentencePiece's
    /// `tokenizer.model` becomes one, if it is BPE.
    ///
    /// # Errors
    /// [`TextError::Io`], also for text that is not UTF-8; [`TextError::TooLarge`];
    /// [`TextError::Unsupported`] for another `tokenizer.model`.
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self, TextError> {
        let mut files = Self::default();
        for (name, text) in files.entries_mut() {
            *text = read(&folder.as_ref().join(name))?;
        }
        if files.tokenizer.is_none() {
            files.tokenizer = sentencepiece::read(folder.as_ref(), &files.tokenizer_config()?)?;
        }
        Ok(files)
    }

    /// Writes those that there are into a folder.
    ///
    /// # Errors
    /// [`TextError::Io`].
    pub fn write_to_folder(&self, folder: impl AsRef<Path>) -> Result<(), TextError> {
        for (name, text) in self.clone().entries_mut() {
            let path = folder.as_ref().join(name);
            if let Some(text) = text {
                fs::write(&path, text).map_err(|source| TextError::Io { path, source })?;
            }
        }
        Ok(())
    }

    /// Takes the chat template of a file instead of the one there is.
    ///
    /// # Errors
    /// [`TextError::Io`], also for text that is not UTF-8; [`TextError::TooLarge`].
    pub fn set_chat_template(&mut self, path: impl AsRef<Path>) -> Result<(), TextError> {
        let path = path.as_ref();
        let missing = || TextError::Io {
            path: path.into(),
            source: io::ErrorKind::NotFound.into(),
        };
        self.chat_template = Some(read(path)?.ok_or_else(missing)?);
        Ok(())
    }

    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether there is a `tokenizer.json`.
    pub fn has_tokenizer(&self) -> bool {
        self.tokenizer.is_some()
    }

    /// Ids that end a sequence: that of the `eos_token`, and those of `generation_config.json`. The model's
    /// own configuration may name others, see [`Checkpoint::stop_ids`](crate::checkpoint::Checkpoint::stop_ids).
    ///
    /// # Errors
    /// [`TextError::Json`].
    pub fn eos_ids(&self) -> Result<Vec<u32>, TextError> {
        let token = token_text(&self.special_tokens()?, "eos_token");
        let id = match token {
            Some(token) if self.has_tokenizer() => self.id_of(&token)?,
            _ => None,
        };
        let mut ids = Vec::from_iter(id);
        for id in self.generation_eos_ids()? {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    /// All ids that end a sequence or a turn of a model: those of its configuration, then
    /// [`eos_ids`](Self::eos_ids). Ids that the model cannot give are left out.
    ///
    /// # Errors
    /// [`TextError::Json`].
    pub fn stop_ids(&self, config: &DecoderConfig) -> Result<Vec<u32>, TextError> {
        let mut ids = Vec::new();
        for id in config.eos_token_ids.iter().copied().chain(self.eos_ids()?) {
            if (id as usize) < config.vocab_size && !ids.contains(&id) {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    /// The ids of `generation_config.json` that end a sequence.
    fn generation_eos_ids(&self) -> Result<Vec<u32>, TextError> {
        let config: Value = parse(&self.generation_config, "generation_config.json")?;
        let id = |value: &Value| value.as_u64().and_then(|id| id.try_into().ok());
        Ok(match &config["eos_token_id"] {
            Value::Array(values) => values.iter().filter_map(id).collect(),
            value => Vec::from_iter(id(value)),
        })
    }

    /// The id of a token by `tokenizer.json`.
    pub(super) fn id_of(&self, token: &str) -> Result<Option<u32>, TextError> {
        // A special token is an added one: the vocabulary, all but a few of the bytes, is passed
        // over first.
        let Added { added_tokens } = match &self.tokenizer {
            Some(text) => serde_json::from_str(text).map_err(TextError::json("tokenizer.json"))?,
            None => return Ok(None),
        };
        if let Some(added) = added_tokens.iter().find(|added| added.content == token) {
            return Ok(Some(added.id));
        }
        let others = self.added_tokens()?;
        if let Some((&id, _)) = others.iter().find(|(_, added)| added.content == token) {
            return Ok(Some(id));
        }
        let id = self.tokenizer_json()?["model"]["vocab"][token].as_u64();
        Ok(id.and_then(|id| id.try_into().ok()))
    }

    fn entries_mut(&mut self) -> [(&'static str, &mut Option<String>); 6] {
        let [tokenizer, config, template, special, added, generation] = Self::NAMES;
        [
            (tokenizer, &mut self.tokenizer),
            (config, &mut self.tokenizer_config),
            (template, &mut self.chat_template),
            (special, &mut self.special_tokens_map),
            (added, &mut self.added_tokens),
            (generation, &mut self.generation_config),
        ]
    }

    /// `tokenizer_config.json`, parsed; null if there is none.
    pub(super) fn tokenizer_config(&self) -> Result<Value, TextError> {
        parse(&self.tokenizer_config, "tokenizer_config.json")
    }

    /// `tokenizer.json`, parsed.
    pub(super) fn tokenizer_json(&self) -> Result<Value, TextError> {
        match &self.tokenizer {
            Some(_) => parse(&self.tokenizer, "tokenizer.json"),
            None => Err(TextError::Missing { what: "tokenizer" }),
        }
    }

    /// The text of the chat template, wherever it stands.
    pub(super) fn template(&self) -> Result<Option<String>, TextError> {
        if self.chat_template.is_some() {
            return Ok(self.chat_template.clone());
        }
        let config = self.tokenizer_config()?;
        Ok(match &config["chat_template"] {
            Value::String(template) => Some(template.clone()),
            // Several, by name.
            Value::Array(named) => named
                .iter()
                .find(|entry| entry["name"] == "default")
                .and_then(|entry| entry["template"].as_str())
                .map(str::to_string),
            _ => None,
        })
    }
}

/// The added tokens of a `tokenizer.json`.
#[derive(Deserialize)]
struct Added {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
}

pub(super) fn parse(text: &Option<String>, what: &'static str) -> Result<Value, TextError> {
    match text {
        None => Ok(Value::Null),
        Some(text) => serde_json::from_str(text).map_err(TextError::json(what)),
    }
}

/// The text of a file of a bounded size, `None` if there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<String>, TextError> {
    let io = |source| TextError::Io {
        path: path.to_path_buf(),
        source,
    };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io(e)),
    };
    let mut text = String::new();
    let found = file
        .take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(io)? as u64;
    if found > MAX_BYTES {
        return Err(TextError::TooLarge {
            path: path.to_path_buf(),
            found,
            max: MAX_BYTES,
        });
    }
    check_pointer(path, text.as_bytes())?;
    Ok(Some(text))
}

/// Refuses what Git LFS leaves in the place of a file that was not downloaded.
pub(super) fn check_pointer(path: &Path, bytes: &[u8]) -> Result<(), TextError> {
    match is_lfs_pointer(bytes) {
        false => Ok(()),
        true => Err(TextError::LfsPointer {
            path: path.to_path_buf(),
        }),
    }
}
