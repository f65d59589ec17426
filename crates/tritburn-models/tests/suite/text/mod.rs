//! Tokenizers and chat templates against transformers, and through GGUF metadata.

mod gguf;
mod special;
mod templates;

use std::path::PathBuf;

use serde_json::Value as Json;
use tritburn_formats::file::gguf::{Array, Metadata, Value};
use tritburn_models::text::{ChatTemplate, Message, TextError, Tokenizer, TokenizerFiles};

fn files() -> TokenizerFiles {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/bitnet-tiny/packed");
    TokenizerFiles::from_folder(folder).unwrap()
}

fn expected() -> Json {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/bitnet-tiny/expected-tokens.json"
    );
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn ids(value: &Json) -> Vec<u32> {
    let ids = value.as_array().unwrap().iter();
    ids.map(|id| id.as_u64().unwrap() as u32).collect()
}

fn template(source: &str) -> ChatTemplate {
    let files = TokenizerFiles {
        chat_template: Some(source.to_string()),
        ..files()
    };
    ChatTemplate::from_files(&files).unwrap().unwrap()
}

fn check_against_transformers(files: &TokenizerFiles) {
    let tokenizer = Tokenizer::from_files(files).unwrap();
    let template = ChatTemplate::from_files(files).unwrap().unwrap();
    let expected = expected();
    let cases = expected["encode"].as_array().unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let encoded = tokenizer.encode(case["text"].as_str().unwrap()).unwrap();
        assert_eq!(encoded, ids(&case["ids"]));
        assert_eq!(tokenizer.decode(&encoded).unwrap(), case["decoded"]);
    }
    let chats = expected["chat"].as_array().unwrap();
    assert_eq!(chats.len(), 2);
    for chat in chats {
        let messages: Vec<Message> = serde_json::from_value(chat["messages"].clone()).unwrap();
        let rendered = template.render(&messages, true).unwrap();
        assert_eq!(rendered, chat["rendered"]);
        let encoded = tokenizer.encode_rendered(&rendered).unwrap();
        assert_eq!(encoded, ids(&chat["ids"]));
    }
}

#[test]
fn files_of_a_folder_agree_with_transformers() {
    check_against_transformers(&files());
}

#[test]
fn gguf_metadata_keeps_the_tokenizer() {
    let mut metadata = Metadata::new();
    files().write_gguf(&mut metadata, 512).unwrap();
    check_against_transformers(&TokenizerFiles::from_gguf(&metadata).unwrap());
}

#[test]
fn a_tokenizer_is_rebuilt_from_tokens_and_merges() {
    let mut whole = Metadata::new();
    files().write_gguf(&mut whole, 512).unwrap();
    let mut bare = Metadata::new();
    for (key, value) in whole.iter() {
        if key != "tokenizer.huggingface.json" {
            bare.set(key, value.clone());
        }
    }
    let rebuilt = TokenizerFiles::from_gguf(&bare).unwrap();
    assert_ne!(rebuilt.tokenizer, files().tokenizer);
    check_against_transformers(&rebuilt);
}

/// Files of older converters name no such token; a chat would run on behind its turn.
#[test]
fn a_gguf_file_without_an_end_of_turn_has_it_by_name() {
    let mut metadata = Metadata::new();
    files().write_gguf(&mut metadata, 512).unwrap();
    let eot = metadata
        .get("tokenizer.ggml.eos_token_id")
        .cloned()
        .unwrap();
    let eot = eot.as_u64().unwrap() as u32;
    let end_of_text = eot - 1;
    metadata.set("tokenizer.ggml.eos_token_id", Value::U32(end_of_text));
    assert!(metadata.get("tokenizer.ggml.eot_token_id").is_none());
    let read = TokenizerFiles::from_gguf(&metadata).unwrap();
    assert_eq!(read.eos_ids().unwrap(), [eot]);
    let tokenizer = Tokenizer::from_files(&read).unwrap();
    assert_eq!(tokenizer.eos_token(), Some("<|eot_id|>"));

    // A word of that name ends nothing.
    let Some(Array::I32(types)) = metadata
        .get("tokenizer.ggml.token_type")
        .and_then(Value::as_array)
    else {
        panic!("no types");
    };
    let mut types = types.clone();
    types[eot as usize] = 1;
    metadata.set("tokenizer.ggml.token_type", Value::Array(Array::I32(types)));
    let read = TokenizerFiles::from_gguf(&metadata).unwrap();
    assert_eq!(read.eos_ids().unwrap(), [end_of_text]);

    metadata.set("tokenizer.ggml.eot_token_id", Value::U32(eot - 2));
    let read = TokenizerFiles::from_gguf(&metadata).unwrap();
    assert_eq!(read.eos_ids().unwrap(), [eot - 2], "the file's word counts");
}

#[test]
fn all_files_say_what_ends_a_sequence() {
    let mut files = files();
    let eos = files.eos_ids().unwrap();
    let tokenizer = Tokenizer::from_files(&files).unwrap();
    assert_eq!(
        tokenizer.token_to_id(tokenizer.eos_token().unwrap()),
        Some(eos[0])
    );
    files.generation_config = Some(format!(r#"{{"eos_token_id": [7, {}, 3]}}"#, eos[0]));
    assert_eq!(files.eos_ids().unwrap(), [eos[0], 7, 3]);
    files.generation_config = Some(r#"{"eos_token_id": 9}"#.to_string());
    assert_eq!(files.eos_ids().unwrap(), [eos[0], 9]);
    files.tokenizer_config = Some(r#"{"eos_token": "a"}"#.to_string());
    let of_vocabulary = files.eos_ids().unwrap();
    assert_eq!(
        Tokenizer::from_files(&files).unwrap().token_to_id("a"),
        Some(of_vocabulary[0])
    );
    files.tokenizer = None;
    assert_eq!(
        files.eos_ids().unwrap(),
        [9],
        "a token without a tokenizer has no id"
    );
}

#[test]
fn a_vocabulary_that_is_too_small_is_refused() {
    let error = files().write_gguf(&mut Metadata::new(), 300).unwrap_err();
    assert!(matches!(error, TextError::TokenId { id, vocabulary: 300, .. } if id >= 300));
}

#[test]
fn streamed_parts_are_whole_characters_and_make_the_text() {
    let tokenizer = Tokenizer::from_files(&files()).unwrap();
    for text in [
        "Zürich, 12 × 7 = 84 ✓",
        "日本語 and 🦀🦀 end",
        "  two  spaces\n\ttab",
    ] {
        let ids = tokenizer.encode(text).unwrap();
        let mut stream = tokenizer.stream();
        let mut parts = Vec::new();
        for &id in &ids {
            parts.extend(stream.push(id).unwrap());
        }
        assert_eq!(stream.finish().unwrap(), None);
        assert!(parts.len() > 3, "{parts:?}");
        assert!(
            parts.iter().all(|part| !part.contains('\u{FFFD}')),
            "{parts:?}"
        );
        assert_eq!(parts.concat(), text);
    }
}

#[test]
fn an_unfinished_character_comes_out_at_the_end() {
    let tokenizer = Tokenizer::from_files(&files()).unwrap();
    let ids = tokenizer.encode("a🦀").unwrap();
    let mut stream = tokenizer.stream();
    let mut text = String::new();
    for &id in &ids[..ids.len() - 1] {
        text.extend(stream.push(id).unwrap());
    }
    assert_eq!(text, "a");
    assert_eq!(stream.finish().unwrap().as_deref(), Some("\u{FFFD}"));
}
