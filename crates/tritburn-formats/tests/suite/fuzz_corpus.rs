//! The inputs that fuzzing kept, run again by the functions that the fuzz targets run.

use std::fs;
use std::path::Path;

use rstest::rstest;
use tempfile::NamedTempFile;

use crate::common::{affine_readers, readers};

fn torch(data: &[u8]) {
    readers::torch(data, &mut NamedTempFile::new().unwrap());
}

fn gguf_split(data: &[u8]) {
    readers::gguf_split(data, tempfile::tempdir().unwrap().path());
}

#[rstest]
#[case("affine_header", affine_readers::affine_header)]
#[case("awq", affine_readers::awq)]
#[case("blocks", readers::blocks)]
#[case("codecs", readers::codecs)]
#[case("gguf", readers::gguf)]
#[case("gguf_split", gguf_split)]
#[case("gptq", affine_readers::gptq)]
#[case("packed_header", readers::packed_header)]
#[case("recognize", readers::recognize)]
#[case("safetensors", readers::safetensors)]
#[case("shard_index", readers::shard_index)]
#[case("torch", torch)]
fn readers_hold_what_they_promise_on_every_kept_input(
    #[case] target: &str,
    #[case] run: fn(&[u8]),
) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fuzz");
    let folder = corpus.join(target);
    let entries = fs::read_dir(&folder);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    for path in paths {
        // Shown if the test fails: which input it was.
        println!("{}", path.display());
        run(&fs::read(&path).unwrap());
    }
}

/// A target that is added, or renamed, is replayed too.
#[test]
fn every_corpus_has_a_reader() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fuzz");
    let mut names: Vec<_> = fs::read_dir(corpus)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let replayed = [
        "affine_header",
        "awq",
        "blocks",
        "codecs",
        "gguf",
        "gguf_split",
        "gptq",
        "packed_header",
        "recognize",
        "safetensors",
        "shard_index",
        "torch",
    ];
    assert_eq!(names, replayed);
}
