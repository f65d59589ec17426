//! `tokenizer.model`, the file of SentencePiece: a protocol buffer with pieces and how to normalise.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::TextError;
use super::files::check_pointer;
use super::gguf::spm::{Kind, Piece, Prompt, tokenizer};

/// Name of the file.
const NAME: &str = "tokenizer.model";
/// The largest known have 5 MB.
const MAX_BYTES: u64 = 64 << 20;

/// `ModelProto.trainer_spec.model_type` of BPE.
const BPE: u64 = 2;

/// A folder's `tokenizer.model` as a `tokenizer.json`, `None` if there is no such file. `config` is its
/// `tokenizer_config.json`.
pub(super) fn read(folder: &Path, config: &Value) -> Result<Option<String>, TextError> {
    let path = folder.join(NAME);
    let Ok(about) = fs::metadata(&path) else {
        return Ok(None);
    };
    if about.len() > MAX_BYTES {
        return Err(TextError::TooLarge {
            path,
            found: about.len(),
            max: MAX_BYTES,
        });
    }
    let io = |source| TextError::Io {
        path: path.clone(),
        source,
    };
    let bytes = fs::read(&path).map_err(io)?;
    check_pointer(&path, &bytes)?;
    Ok(Some(converted(&bytes, config)?.to_string()))
}

fn converted(bytes: &[u8], config: &Value) -> Result<Value, TextError> {
    let model = Model::read(bytes).ok_or_else(|| unsupported("a damaged file"))?;
    if model.kind != BPE {
        return Err(unsupported(
            "a unigram or another model than BPE: let transformers write a tokenizer.json \
             (AutoTokenizer.from_pretrained, save_pretrained)",
        ));
    }
    if model.maps_characters {
        return Err(unsupported(
            "a map of characters: let transformers write a tokenizer.json",
        ));
    }
    let flag = |name: &str, default: bool| config[name].as_bool().unwrap_or(default);
    let named = |id: u64| {
        u32::try_from(id)
            .ok()
            .filter(|&id| (id as usize) < model.pieces.len())
    };
    let prompt = Prompt {
        blank: model.begins_with_blank,
        tidy: model.tidies,
        bos: named(model.bos).filter(|_| flag("add_bos_token", true)),
        eos: named(model.eos).filter(|_| flag("add_eos_token", false)),
    };
    tokenizer(&model.pieces, prompt)
}

/// What is taken from the file; what it leaves out has SentencePiece's defaults.
struct Model {
    pieces: Vec<Piece>,
    kind: u64,
    bos: u64,
    eos: u64,
    maps_characters: bool,
    begins_with_blank: bool,
    tidies: bool,
}

impl Model {
    /// `None` for bytes that are no such message.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut model = Self {
            pieces: Vec::new(),
            kind: 1,
            bos: 1,
            eos: 2,
            maps_characters: false,
            begins_with_blank: true,
            tidies: true,
        };
        let mut fields = Fields(bytes);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, Field::Bytes(bytes)) => model.pieces.push(piece(bytes)?),
                (2, Field::Bytes(bytes)) => model.trainer(bytes)?,
                (3, Field::Bytes(bytes)) => model.normaliser(bytes)?,
                _ => {}
            }
        }
        (!model.pieces.is_empty()).then_some(model)
    }

    fn trainer(&mut self, bytes: &[u8]) -> Option<()> {
        let mut fields = Fields(bytes);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (3, Field::Number(kind)) => self.kind = kind,
                // -1, which is none, is beyond every id.
                (41, Field::Number(id)) => self.bos = id,
                (42, Field::Number(id)) => self.eos = id,
                _ => {}
            }
        }
        Some(())
    }

    fn normaliser(&mut self, bytes: &[u8]) -> Option<()> {
        let mut fields = Fields(bytes);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (2, Field::Bytes(map)) => self.maps_characters = !map.is_empty(),
                (3, Field::Number(flag)) => self.begins_with_blank = flag != 0,
                (4, Field::Number(flag)) => self.tidies = flag != 0,
                _ => {}
            }
        }
        Some(())
    }
}

fn piece(bytes: &[u8]) -> Option<Piece> {
    let mut piece = Piece {
        text: String::new(),
        score: 0.0,
        kind: Kind::Normal,
    };
    let mut fields = Fields(bytes);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Bytes(text)) => piece.text = String::from_utf8(text.to_vec()).ok()?,
            (2, Field::Four(score)) => piece.score = f32::from_le_bytes(score),
            (3, Field::Number(kind)) => piece.kind = Kind::of(kind.try_into().ok()?)?,
            _ => {}
        }
    }
    Some(piece)
}

/// The value of a field.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Four([u8; 4]),
    Eight,
}

/// The fields of a message, one by one.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The next field and its number, `Some(None)` at the end, `None` for what is no field.
    fn next(&mut self) -> Option<Option<(u64, Field<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let key = self.number()?;
        let field = match key & 7 {
            0 => Field::Number(self.number()?),
            1 => {
                self.bytes(8)?;
                Field::Eight
            }
            2 => {
                let length = self.number()?.try_into().ok()?;
                Field::Bytes(self.bytes(length)?)
            }
            5 => Field::Four(self.bytes(4)?.try_into().ok()?),
            _ => return None,
        };
        Some(Some((key >> 3, field)))
    }

    /// Seven bits a byte, the lowest first.
    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

fn unsupported(found: &str) -> TextError {
    TextError::Unsupported {
        what: "tokenizer.model with",
        found: found.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{Tokenizer, TokenizerFiles};

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        assert!(bytes.len() < 128);
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    fn piece_of(text: &str, score: f32, kind: u8) -> Vec<u8> {
        let score = [&[2 << 3 | 5][..], &score.to_le_bytes()].concat();
        let whole = [field(1, text.as_bytes()), score, vec![3 << 3, kind]].concat();
        field(1, &whole)
    }

    /// BPE over bytes, `▁`, `t`, `h`, `▁t` and `▁th`.
    fn model(kind: u8, tidies: u8) -> Vec<u8> {
        let mut bytes = [
            piece_of("<unk>", 0.0, 2),
            piece_of("<s>", 0.0, 3),
            piece_of("</s>", 0.0, 3),
        ]
        .concat();
        for byte in 0..256 {
            bytes.extend(piece_of(&format!("<0x{byte:02X}>"), 0.0, 6));
        }
        for (i, text) in ["▁t", "▁th", "▁", "t", "h"].into_iter().enumerate() {
            bytes.extend(piece_of(text, -(i as f32), 1));
        }
        bytes.extend(field(2, &[3 << 3, kind]));
        bytes.extend(field(3, &[4 << 3, tidies]));
        bytes
    }

    #[test]
    fn a_folder_with_the_model_alone_has_a_tokenizer() {
        let folder = tempfile::tempdir().unwrap();
        for (tidies, text, expected) in [
            (0, "th", vec![1, 260]),
            (0, " th", vec![1, 261, 260]),
            (1, "  th   t ", vec![1, 260, 259]),
            (0, "é", vec![1, 261, 3 + 0xc3, 3 + 0xa9]),
        ] {
            fs::write(folder.path().join(NAME), model(2, tidies)).unwrap();
            let files = TokenizerFiles::from_folder(folder.path()).unwrap();
            let tokenizer = Tokenizer::from_files(&files).unwrap();
            assert_eq!(tokenizer.encode(text).unwrap(), expected, "{text:?}");
        }
        fs::write(
            folder.path().join("tokenizer_config.json"),
            r#"{"add_bos_token": false}"#,
        )
        .unwrap();
        let files = TokenizerFiles::from_folder(folder.path()).unwrap();
        let tokenizer = Tokenizer::from_files(&files).unwrap();
        assert_eq!(
            tokenizer.encode("th").unwrap(),
            tokenizer.encode_rendered("th").unwrap()
        );
    }

    #[test]
    fn what_cannot_be_read_says_what_to_do() {
        let error = converted(&model(1, 0), &Value::Null).unwrap_err();
        assert!(error.to_string().contains("save_pretrained"), "{error}");
        let whole = model(2, 0);
        for len in [0, 1, 5, 100, whole.len() - 1] {
            // Some of these end between two fields.
            let _ = converted(&whole[..len], &Value::Null);
        }
        assert!(converted(&[], &Value::Null).is_err());
        assert!(converted(&[0xff; 40], &Value::Null).is_err());
        assert!(converted(&whole[..whole.len() - 1], &Value::Null).is_err());
    }
}
