//! Running the command, and the toy model that it runs.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use safetensors::SafeTensors;
use serde_json::Value;

pub const FORMS: [(&str, &str, &str); 2] = [
    ("bf16", "online_f32", "greedy"),
    ("packed", "offline_f32", "offline_greedy"),
];

pub fn toy(form: &str) -> PathBuf {
    toy_folder().join(form)
}

pub fn toy_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tritburn-models/tests/data/bitnet-tiny")
}

pub fn tritburn(args: &[&str]) -> Output {
    tritburn_with(args, "")
}

pub fn tritburn_with(args: &[&str], input: &str) -> Output {
    tritburn_in(Path::new("."), args, input.as_bytes())
}

/// Runs in a folder, with bytes that may be no text.
pub fn tritburn_in(folder: &Path, args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tritburn"))
        .args(args)
        .current_dir(folder)
        .env_remove("TRITBURN_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments has closed the pipe already.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The standard output of a run that has to succeed.
pub fn succeed(args: &[&str]) -> String {
    let output = tritburn(args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

pub fn json(args: &[&str]) -> Value {
    serde_json::from_str(&succeed(args)).unwrap()
}

/// The message of a run that has to fail.
pub fn fail(args: &[&str]) -> String {
    let output = tritburn(args);
    assert!(!output.status.success(), "{args:?} succeeded");
    let message = text(&output.stderr);
    assert!(!message.contains("panicked"), "{args:?}: {message}");
    message
}

pub fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Copies the files of a folder.
pub fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A vector of whole numbers in transformers' results.
pub fn expected_ids(name: &str) -> Vec<u64> {
    let bytes = fs::read(toy_folder().join("expected.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let data = tensors.tensor(name).unwrap().data();
    let ids = data.chunks_exact(8);
    ids.map(|id| u64::from_le_bytes(id.try_into().unwrap()))
        .collect()
}

pub fn f32s(file: &Path, name: &str) -> Vec<f32> {
    let bytes = fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let data = tensors.tensor(name).unwrap().data();
    let values = data.chunks_exact(4);
    values
        .map(|value| f32::from_le_bytes(value.try_into().unwrap()))
        .collect()
}

pub fn list(ids: &[u64]) -> String {
    let ids: Vec<_> = ids.iter().map(u64::to_string).collect();
    ids.join(",")
}

pub fn ids_of(value: &Value) -> Vec<u64> {
    let ids = value.as_array().unwrap();
    ids.iter().map(|id| id.as_u64().unwrap()).collect()
}
