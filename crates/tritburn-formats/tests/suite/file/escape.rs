//! Names with control characters, in messages.

use std::path::PathBuf;

use tritburn_formats::file::{DType, FileError, Gguf, Safetensors, TensorSource, escaped};

const NAME: &str = "a\u{1b}[31mred\r\u{9b}\u{202e}";

#[test]
fn control_characters_are_escaped_and_other_text_is_not() {
    assert_eq!(escaped(NAME).to_string(), r"a\u{1b}[31mred\r\u{9b}\u{202e}");
    let plain = "blk.0 \"quoted\" 'é' C:\\x 日本 e\u{301}";
    assert_eq!(escaped(plain).to_string(), plain);
}

#[test]
fn no_message_holds_a_control_character() {
    let (path, text) = (PathBuf::from(NAME), NAME.to_string());
    let errors = [
        FileError::Truncated {
            path: path.clone(),
            what: text.clone(),
            offset: 0,
            expected: 1,
            found: 0,
        },
        FileError::Limit {
            path: path.clone(),
            what: text.clone(),
            found: 2,
            max: 1,
        },
        FileError::Header {
            path: path.clone(),
            offset: 0,
            reason: text.clone(),
        },
        FileError::Split {
            path: path.clone(),
            reason: text.clone(),
        },
        FileError::Folder {
            path: path.clone(),
            reason: text.clone(),
        },
        FileError::Duplicate {
            path: path.clone(),
            what: "tensor",
            name: text.clone(),
        },
        FileError::UnknownType {
            path: path.clone(),
            tensor: text.clone(),
            found: text.clone(),
        },
        FileError::Shape {
            path: path.clone(),
            tensor: text.clone(),
            dtype: DType::F32,
            shape: vec![],
        },
        FileError::NotFound {
            path: path.clone(),
            tensor: text.clone(),
        },
        FileError::ShardName {
            path: path.clone(),
            shard: text.clone(),
        },
        FileError::ShardTensor {
            path: path.clone(),
            tensor: text.clone(),
            shard: text.clone(),
        },
        FileError::LfsPointer { path: path.clone() },
        FileError::Exists { path },
    ];
    for error in errors {
        let message = error.to_string();
        let bad = message.chars().any(|c| c.is_control() || c == '\u{202e}');
        assert!(!bad && message.contains(r"\u{1b}[31m"), "{message:?}");
    }
}

#[test]
fn messages_of_readers_hold_none() {
    // A header whose type has a line break, and one cut off in a key with an escape.
    let header = r#"{"a\u001bb":{"dtype":"F\n32","shape":[1],"data_offsets":[0,4]}}"#;
    let len = (header.len() as u64).to_le_bytes();
    let bytes = [&len[..], header.as_bytes(), &[0; 4]].concat();
    let tensors = Safetensors::from_bytes("x", bytes).map(|_| ());
    let mut bytes = [&b"GGUF"[..], &3_u32.to_le_bytes(), &0_u64.to_le_bytes()].concat();
    bytes.extend(1_u64.to_le_bytes());
    bytes.extend(2_u64.to_le_bytes());
    bytes.extend(b"\x1bk");
    bytes.extend(8_u32.to_le_bytes());
    bytes.extend(100_u64.to_le_bytes());
    let gguf = Gguf::from_bytes("x", bytes).map(|_| ());
    let missing = Safetensors::from_bytes("x", [&2_u64.to_le_bytes()[..], b"{}"].concat());
    let missing = missing.expect("valid").read(NAME).map(|_| ());
    let found = [tensors, gguf, missing].map(|result| result.expect_err("refused").to_string());
    let expected = [
        r#"x: tensor "a\u{1b}b" has the type F\n32, which this reader or writer does not know"#,
        r"x: \u{1b}k at offset 46 needs 100 bytes, the file has 0 left",
        r#"x: no tensor "a\u{1b}[31mred\r\u{9b}\u{202e}""#,
    ];
    assert_eq!(found, expected);
}
