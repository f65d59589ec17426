//! SentencePiece tokenizers: pieces with scores, and bytes for what they cannot write.
//!
//! Their BPE merges the two neighbours whose union has the highest score. As a `tokenizer.json` it is a
//! BPE whose merges are all ways to put a piece together, best score first.

use std::collections::HashMap;

use serde_json::{Map, Value as Json, json};

use super::super::TextError;

/// What stands for a blank.
const BLANK: &str = "\u{2581}";
/// Longer pieces, which no training makes, are no merges: there would be too many ways.
const MAX_PIECE: usize = 256;

/// A piece.
#[derive(Clone, Debug)]
pub(in super::super) struct Piece {
    pub text: String,
    pub score: f32,
    pub kind: Kind,
}

/// What a piece is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

impl Kind {
    /// By its number, which GGUF and SentencePiece share; 0 is for what nobody said.
    pub fn of(number: i64) -> Option<Self> {
        Some(match number {
            0 | 1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }
}

/// What else a tokenizer does.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Prompt {
    /// Whether a text begins with a blank that it does not have.
    pub blank: bool,
    /// Whether blanks around a text go, and of several in a row one is left.
    pub tidy: bool,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
}

/// `tokenizer.json` out of pieces by id.
pub(in super::super) fn tokenizer(pieces: &[Piece], prompt: Prompt) -> Result<Json, TextError> {
    let mut ids = HashMap::with_capacity(pieces.len());
    for (id, piece) in pieces.iter().enumerate() {
        if ids.insert(piece.text.as_str(), id).is_some() {
            return Err(unsupported(format!("the piece {:?} twice", piece.text)));
        }
    }
    let unknown = pieces.iter().find(|piece| piece.kind == Kind::Unknown);
    let bytes = (0..=255u8).all(|byte| ids.contains_key(format!("<0x{byte:02X}>").as_str()));
    if unknown.is_none() && !bytes {
        let found = "neither pieces for all bytes nor one for what is unknown";
        return Err(unsupported(found.to_string()));
    }
    let added = |(id, piece): (usize, &Piece)| {
        let special = matches!(piece.kind, Kind::Control | Kind::Unknown);
        (special || piece.kind == Kind::UserDefined).then(|| {
            json!({
                "id": id, "content": piece.text, "special": special, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false,
            })
        })
    };
    let added: Vec<Json> = pieces.iter().enumerate().filter_map(added).collect();
    let vocab: Map<String, Json> = pieces
        .iter()
        .enumerate()
        .map(|(id, piece)| (piece.text.clone(), json!(id)))
        .collect();
    let blanks = json!({ "type": "Replace", "pattern": { "String": " " }, "content": BLANK });
    let mut normalizers = vec![blanks];
    let mut decoders = vec![
        json!({ "type": "Replace", "pattern": { "String": BLANK }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    if prompt.tidy {
        let several = json!({ "type": "Replace", "pattern": { "Regex": " {2,}" }, "content": " " });
        let around = json!({ "type": "Strip", "strip_left": true, "strip_right": true });
        normalizers.splice(0..0, [around, several]);
    }
    if prompt.blank {
        let last = normalizers.len() - 1;
        normalizers.insert(last, json!({ "type": "Prepend", "prepend": BLANK }));
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    let named = |id: Option<u32>| {
        let id = id?;
        Some((id, pieces.get(id as usize)?.text.as_str()))
    };
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": { "type": "Sequence", "normalizers": normalizers },
        "pre_tokenizer": null,
        "post_processor": around(named(prompt.bos), named(prompt.eos)),
        "decoder": { "type": "Sequence", "decoders": decoders },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown.map(|piece| &piece.text),
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
            "byte_fallback": bytes, "ignore_merges": false, "vocab": vocab,
            "merges": merges(pieces, &ids),
        },
    }))
}

/// The `post_processor` that puts tokens in front of a prompt and behind it.
pub(super) fn around(first: Option<(u32, &str)>, last: Option<(u32, &str)>) -> Option<Json> {
    if first.is_none() && last.is_none() {
        return None;
    }
    let sequence = |name: &str, type_id: u32| {
        let token =
            |(_, text): (u32, &str)| json!({ "SpecialToken": { "id": text, "type_id": type_id } });
        let text = json!({ "Sequence": { "id": name, "type_id": type_id } });
        let parts = [first.map(token), Some(text), last.map(token)];
        parts.into_iter().flatten().collect::<Vec<Json>>()
    };
    let special: Map<String, Json> = first
        .into_iter()
        .chain(last)
        .map(|(id, text)| {
            (
                text.to_string(),
                json!({ "id": text, "ids": [id], "tokens": [text] }),
            )
        })
        .collect();
    let pair = [sequence("A", 0), sequence("B", 1)].concat();
    Some(json!({
        "type": "TemplateProcessing",
        "single": sequence("A", 0),
        "pair": pair,
        "special_tokens": special,
    }))
}

/// All ways to put a piece together of two others: highest score first, and of one piece in the order
/// of its parts' ids.
fn merges(pieces: &[Piece], ids: &HashMap<&str, usize>) -> Vec<Json> {
    let merged = |piece: &&Piece| {
        matches!(piece.kind, Kind::Normal | Kind::UserDefined) && piece.text.len() <= MAX_PIECE
    };
    let mut ways = Vec::new();
    for piece in pieces.iter().filter(merged) {
        let text = piece.text.as_str();
        for (place, _) in text.char_indices().skip(1) {
            let (left, right) = text.split_at(place);
            if let (Some(&l), Some(&r)) = (ids.get(left), ids.get(right)) {
                ways.push((piece.score, l, r, left, right));
            }
        }
    }
    ways.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    ways.into_iter()
        .map(|(.., left, right)| json!([left, right]))
        .collect()
}

fn unsupported(found: String) -> TextError {
    TextError::Unsupported {
        what: "a SentencePiece tokenizer with",
        found,
    }
}
