//! The inputs that fuzzing kept, run again by the functions that the fuzz targets run.

use std::fs;
use std::path::{Path, PathBuf};

use rstest::rstest;

use crate::readers;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fuzz")
}

fn gguf_model(data: &[u8]) {
    readers::gguf_model(data, tempfile::tempdir().unwrap().path());
}

fn model_folder(data: &[u8]) {
    readers::model_folder(data, tempfile::tempdir().unwrap().path());
}

fn sentencepiece(data: &[u8]) {
    readers::sentencepiece(data, tempfile::tempdir().unwrap().path());
}

#[rstest]
#[case("chat_template", readers::chat_template)]
#[case("config", readers::config)]
#[case("gguf_model", gguf_model)]
#[case("model_folder", model_folder)]
#[case("sentencepiece", sentencepiece)]
fn readers_of_models_hold_what_they_promise_on_every_kept_input(
    #[case] target: &str,
    #[case] run: fn(&[u8]),
) {
    let mut paths: Vec<_> = fs::read_dir(corpus().join(target))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{target} has no inputs");
    for path in paths {
        // Shown if the test fails: which input it was.
        println!("{}", path.display());
        run(&fs::read(&path).unwrap());
    }
}
