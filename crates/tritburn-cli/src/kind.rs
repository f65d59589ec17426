//! Files that are no models, by their first bytes: a reader of models would find a strange header.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Result, bail};

/// Ends of names whose readers say themselves what is wrong.
const NAMED: [&str; 5] = ["safetensors", "gguf", "pt", "pth", "bin"];

/// Refuses a file that is of none of the kinds that are read.
pub fn check(path: &Path) -> Result<()> {
    let named = path.extension().and_then(|end| end.to_str());
    if !path.is_file() || named.is_some_and(|end| NAMED.contains(&end)) {
        return Ok(());
    }
    let Ok(mut file) = File::open(path) else {
        return Ok(());
    };
    let mut start = [0; 9];
    let mut read = 0;
    while let Ok(more @ 1..) = file.read(&mut start[read..]) {
        read += more;
    }
    let size = file.metadata().map_or(u64::MAX, |about| about.len());
    let start = &start[..read];
    let safetensors = match start.split_first_chunk::<8>() {
        Some((header, b"{")) => u64::from_le_bytes(*header) <= size,
        _ => false,
    };
    if start.starts_with(b"GGUF") || start.starts_with(b"PK\x03\x04") || safetensors {
        return Ok(());
    }
    let shown = path.display();
    if start.trim_ascii_start().starts_with(b"{") {
        let index = path
            .to_str()
            .is_some_and(|name| name.ends_with(".index.json"));
        if index {
            return Ok(());
        }
        bail!(
            "{shown} is JSON, a configuration maybe, and no weights: name its folder, or the file with the weights"
        );
    }
    bail!(
        "{shown} is none of the files that are read: safetensors, GGUF, or a checkpoint of torch (.pt)"
    );
}

/// Warns of a file beside the shards of a model, of which only one of both is read.
pub fn warn_of_stray(path: &Path) {
    const SINGLE: &str = "model.safetensors";
    const INDEX: &str = "model.safetensors.index.json";
    if path.join(SINGLE).is_file() && path.join(INDEX).is_file() {
        tracing::warn!(
            "{} has both {SINGLE} and {INDEX}: {SINGLE} is read, the files of the index are not",
            path.display()
        );
    }
}
