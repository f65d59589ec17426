//! Files that are no models, opened as one.

use rstest::rstest;
use tritburn_formats::file::{FileError, FileKind, open};

#[rstest]
#[case(
    "picture.jpg",
    b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01",
    "looks like a JPEG picture"
)]
#[case(
    "page.safetensors",
    b"<!DOCTYPE html><html>",
    "looks like a page of HTML or XML"
)]
#[case(
    "old.bin",
    b"lmgg\x01\x00\x00\x00\x00\x7d\x00\x00",
    "looks like a file of ggml before GGUF"
)]
#[case(
    "old.pt",
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
    "looks like a Python pickle, as torch wrote before 1.6"
)]
#[case(
    "template",
    b"{% for message in messages %}",
    "starts with [7b, 25, 20, 66, 6f, 72, 20, 6d, 65, 73, 73, 61, 67, 65, 20, 69]"
)]
#[case("lines", b"{\n                  \"a\": 1}", "looks like JSON text")]
#[case("data", b"{\"weight_map\": {}}", "looks like JSON text")]
#[case(
    "noise",
    b"\x01\x02\x03\x04\x05\x06\x07\x08\x09",
    "starts with [01, 02, 03, 04, 05, 06, 07, 08, 09]"
)]
fn what_is_no_model_is_named(#[case] name: &str, #[case] bytes: &[u8], #[case] text: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("written");
    let errors = [
        FileKind::detect(&path).expect_err("of no kind"),
        open(&path).map(|_| ()).expect_err("of no kind"),
    ];
    for error in errors {
        let expected = format!(
            "{}: no safetensors, GGUF or torch file: it {text}",
            path.display()
        );
        assert_eq!(error.to_string(), expected);
        assert!(matches!(error, FileError::Kind { path: p, .. } if p == path));
    }
}

#[rstest]
#[case("x.gguf", b"GGUF", FileKind::Gguf)]
#[case("x.pt", b"PK\x03\x04", FileKind::Torch)]
#[case("empty", b"", FileKind::Safetensors)]
#[case("short", b"\x02\x00\x00\x00", FileKind::Safetensors)]
#[case("whole", b"\x02\x00\x00\x00\x00\x00\x00\x00{}", FileKind::Safetensors)]
#[case(
    "padded",
    b"\x03\x00\x00\x00\x00\x00\x00\x00 {}",
    FileKind::Safetensors
)]
// Cut off, or with a header over the limit: still what it was.
#[case(
    "cut",
    b"\xff\xff\xff\xff\x01\x00\x00\x00{\"a\"",
    FileKind::Safetensors
)]
#[case("any.json", b"{\"weight_map\": {}}", FileKind::Safetensors)]
#[case("any.JSON", b"[]", FileKind::Safetensors)]
fn what_may_be_a_model_is_left_to_its_reader(
    #[case] name: &str,
    #[case] bytes: &[u8],
    #[case] kind: FileKind,
) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("written");
    assert_eq!(FileKind::detect(&path).expect("a kind"), kind);
}

#[rstest]
#[case(
    "{\"model_type\": \"bitnet\", \"hidden_size\": 64}",
    "the configuration of a model, not weights"
)]
#[case(
    "{\"architectures\": [\"X\"]}",
    "the configuration of a model, not weights"
)]
#[case(
    "{\"version\": \"1.0\", \"model\": {}}",
    "no index of safetensors: it has no `weight_map`"
)]
fn json_that_is_no_index_is_told(#[case] text: &str, #[case] expected: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.json");
    std::fs::write(&path, text).expect("written");
    match open(&path).map(|_| ()) {
        Err(FileError::Header { reason, .. }) => assert!(reason.starts_with(expected), "{reason}"),
        other => panic!("{other:?}"),
    }
}
