//! The built program on a small text, in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

pub use crate::process::{fail, succeed};

/// A model small enough for a training to take a second.
pub const TINY: [&str; 12] = [
    "--d-model",
    "32",
    "--d-ff",
    "48",
    "--layers",
    "1",
    "--heads",
    "2",
    "--context",
    "16",
    "--batch-size",
    "4",
];

pub struct Bench {
    folder: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("text.txt"), words(40_000)).unwrap();
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// `train` of the tiny model on the text, with `more` arguments.
    pub fn train(&self, run: &str, more: &[&str]) -> Command {
        let mut command = program("train");
        command.arg("--output").arg(self.path(run));
        command.arg("--data").arg(self.path("text.txt"));
        command.args(TINY).args(more);
        command
    }

    pub fn losses(&self, run: &str) -> String {
        fs::read_to_string(self.path(run).join("losses.jsonl")).unwrap_or_default()
    }
}

/// The program with a sub-command.
pub fn program(command: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_language-model"));
    program.arg(command);
    program
}

pub fn output_of(run: &Path, command: &str) -> Command {
    let mut program = program(command);
    program.arg("--output").arg(run);
    program
}

/// Words in an order that repeats late: something to learn, though not by heart.
fn words(bytes: usize) -> String {
    const WORDS: [&str; 12] = [
        "let", "mut", "value", "=", "fn", "main()", "{\n", "}\n", "return", "self.x", "+", "0;\n",
    ];
    let mut state = 12345u32;
    let mut text = String::new();
    while text.len() < bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.push_str(WORDS[(state >> 16) as usize % WORDS.len()]);
        text.push(' ');
    }
    text
}
