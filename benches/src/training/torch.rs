//! PyTorch's times, from `peers/train.py`, in a process of its own.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::case::Case;

/// The script, so that the program measures wherever it is put.
pub const SCRIPT: &str = include_str!("../../peers/train.py");

/// What the script says of a case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Milliseconds of a repetition.
    pub ms: f64,
    /// Peak of its allocator, in gigabytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_gb: Option<f64>,
    /// Seconds from nothing to the end of the first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_step_s: Option<f64>,
    /// Version of PyTorch.
    pub torch: String,
}

/// Runs the script, as long as it works.
#[derive(Debug, Default)]
pub struct Torch {
    missing: bool,
}

impl Torch {
    /// PyTorch's time for `case`; `None`, with a warning, where it has none.
    pub fn measure(&mut self, case: &Case) -> Option<Peer> {
        if self.missing {
            return None;
        }
        match ask(case) {
            Ok(peer) => Some(peer),
            Err(error) => {
                eprintln!("warning: PyTorch left out: {error:#}");
                // One case may ask for too much memory; a Python without PyTorch has no other.
                self.missing = format!("{error:#}").contains("No module named");
                None
            }
        }
    }
}

fn ask(case: &Case) -> Result<Peer> {
    let mut child = Command::new("python3")
        .arg("-")
        .args(case.arguments())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting python3")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(SCRIPT.as_bytes())
            .context("handing over the script")?;
    }
    let output = child.wait_with_output().context("waiting for python3")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let reason = said.lines().last().unwrap_or("it says nothing");
    ensure!(output.status.success(), "{}: {reason}", output.status);
    parse(&String::from_utf8_lossy(&output.stdout))
}

fn parse(stdout: &str) -> Result<Peer> {
    let line = stdout.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("reading {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_result() {
        let text = "a warning\n{\"ms\": 1.5, \"torch\": \"2.11.0\", \"case\": \"linear\"}\n";
        let peer = parse(text).unwrap();
        assert_eq!((peer.ms, peer.torch.as_str()), (1.5, "2.11.0"));
        assert_eq!(peer.peak_gb, None);
        assert!(parse("").is_err());
    }
}
