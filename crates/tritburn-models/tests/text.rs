//! Tokenizers and chat templates against transformers, and through GGUF metadata.

use std::path::PathBuf;

use serde_json::Value;
use tritburn_formats::file::gguf::Metadata;
use tritburn_models::text::{ChatTemplate, Message, TextError, Tokenizer, TokenizerFiles};

fn files() -> TokenizerFiles {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/bitnet-tiny/packed");
    TokenizerFiles::from_folder(folder).unwrap()
}

fn expected() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/bitnet-tiny/expected-tokens.json"
    );
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().unwrap().iter();
    ids.map(|id| id.as_u64().unwrap() as u32).collect()
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

fn template(source: &str) -> ChatTemplate {
    let files = TokenizerFiles {
        chat_template: Some(source.to_string()),
        ..files()
    };
    ChatTemplate::from_files(&files).unwrap().unwrap()
}

#[test]
fn templates_have_what_transformers_gives_them() {
    let messages = [Message::new("user", " <b> ")];
    for (source, expected) in [
        (
            "{{ messages[0] | tojson }}",
            r#"{"role": "user", "content": " <b> "}"#,
        ),
        ("{{ messages[0]['content'].strip() }}", "<b>"),
        ("{% if tools is none %}none{% endif %}", "none"),
        ("  {% if true %}\nx\n  {% endif %}\ny", "x\ny"),
        ("{{ eos_token + pad_token }}", "<|eot_id|><pad>"),
    ] {
        assert_eq!(template(source).render(&messages, false).unwrap(), expected);
    }
    let error = template("{{ raise_exception('no system') }}").render(&messages, false);
    let error = error.unwrap_err();
    assert!(matches!(error, TextError::Template(_)));
    assert!(error.to_string().contains("no system"), "{error}");
}

#[test]
fn an_older_folder_has_its_template_in_the_configuration() {
    let files = TokenizerFiles {
        chat_template: None,
        tokenizer_config: Some(
            r#"{"bos_token": {"content": "<s>"}, "chat_template": [
                {"name": "tool", "template": "no"},
                {"name": "default", "template": "{{ bos_token }}!"}]}"#
                .to_string(),
        ),
        ..files()
    };
    let template = ChatTemplate::from_files(&files).unwrap().unwrap();
    assert_eq!(template.render(&[], false).unwrap(), "<s>!");
}
