//! Documents of files, one at a time: what is tokenised need not fit in memory.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::DataError;
use super::files::{files_below, read_text};

/// Bytes of a document of a text file: larger files are cut at line ends.
const DOCUMENT: usize = 1 << 20;

/// Whether to go on behind a document.
type Taken = Result<ControlFlow<()>, DataError>;

/// A line of a JSON-lines file.
#[derive(Deserialize)]
struct Line {
    text: Option<String>,
    messages: Option<serde_json::Value>,
}

/// Whether a file holds a document a line, as JSON with a `text`.
pub(super) fn is_json_lines(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    extension == "jsonl" || extension == "ndjson"
}

/// The text of line `number`, counted from 1, of the JSON-lines file `path`.
pub(super) fn text_of_line(path: &Path, number: usize, line: &str) -> Result<String, DataError> {
    let wrong = |reason: String| DataError::JsonLine {
        path: path.into(),
        line: number,
        reason,
    };
    let line: Line = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
    match line {
        Line {
            text: Some(text), ..
        } => Ok(text),
        Line {
            messages: Some(_), ..
        } => Err(wrong(
            "it has `messages`: conversations are for `finetune`".into(),
        )),
        _ => Err(wrong("it has no `text`".into())),
    }
}

/// Gives every document of `path`, a file or a folder of them, to `take`, with the bytes of files read so
/// far, until it breaks. Files of a folder that are not text are left out.
///
/// # Errors
/// [`DataError`] of a file or of `take`.
pub(super) fn each_document(
    path: &Path,
    mut take: impl FnMut(String, u64) -> Taken,
) -> Result<(), DataError> {
    let folder = path.is_dir();
    let mut read = 0;
    for file in files_of(path)? {
        let result = match is_json_lines(&file) {
            true => json_documents(&file, &mut read, &mut take),
            false => text_documents(&file, &mut read, &mut take),
        };
        let taken = match result {
            Err(DataError::Binary { .. } | DataError::Empty { .. }) if folder => continue,
            other => other?,
        };
        if taken.is_break() {
            break;
        }
    }
    Ok(())
}

/// Bytes of the files that [`each_document`] reads.
pub(super) fn bytes_of(path: &Path) -> Result<u64, DataError> {
    files_of(path)?.iter().try_fold(0, |sum, file| {
        let size = std::fs::metadata(file)
            .map_err(DataError::unreadable(file))?
            .len();
        Ok(sum + size)
    })
}

/// A file itself, or those below a folder.
fn files_of(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    match path.is_dir() {
        true => files_below(path),
        false => Ok(vec![path.into()]),
    }
}

fn json_documents(
    path: &Path,
    read: &mut u64,
    take: &mut impl FnMut(String, u64) -> Taken,
) -> Taken {
    let file = File::open(path).map_err(DataError::unreadable(path))?;
    let mut lines = BufReader::with_capacity(1 << 20, file);
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        let bytes = lines
            .read_line(&mut line)
            .map_err(DataError::unreadable(path))?;
        if bytes == 0 {
            break;
        }
        *read += bytes as u64;
        if !line.trim().is_empty() && take(text_of_line(path, number, &line)?, *read)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn text_documents(
    path: &Path,
    read: &mut u64,
    take: &mut impl FnMut(String, u64) -> Taken,
) -> Taken {
    let text = read_text(path)?;
    let mut rest = &text[..];
    while !rest.is_empty() {
        let most = rest.len().min(DOCUMENT);
        let end = match most == rest.len() {
            true => most,
            false => rest[..most]
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(most, |at| at + 1),
        };
        let (document, left) = rest.split_at(end);
        *read += end as u64;
        if take(String::from_utf8_lossy(document).into_owned(), *read)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        rest = left;
    }
    Ok(ControlFlow::Continue(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(path: &Path) -> Result<Vec<String>, DataError> {
        let mut all = Vec::new();
        each_document(path, |text, _| {
            all.push(text);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(all)
    }

    #[test]
    fn lines_of_json_are_documents_and_empty_lines_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(
            &path,
            "{\"text\":\"one\\ntwo\",\"id\":3}\n\n{\"text\":\"\"}",
        )
        .unwrap();
        assert_eq!(documents(&path).unwrap(), ["one\ntwo", ""]);
        assert_eq!(bytes_of(folder.path()).unwrap(), 39);
    }

    #[test]
    fn nothing_is_read_behind_a_break() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.jsonl"), "{\"text\":\"one\"}\nno json").unwrap();
        std::fs::write(folder.path().join("b.txt"), "two").unwrap();
        let mut all = Vec::new();
        let stop = |text, _| {
            all.push(text);
            Ok(ControlFlow::Break(()))
        };
        each_document(folder.path(), stop).unwrap();
        assert_eq!(all, ["one"]);
    }

    #[test]
    fn a_line_without_text_is_refused_with_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        for (second, reason) in [
            ("{\"txt\":\"x\"}", "no `text`"),
            ("{\"messages\":[]}", "`messages`"),
            ("{\"text\":1}", "invalid type"),
            ("text", "expected"),
        ] {
            std::fs::write(&path, format!("{{\"text\":\"x\"}}\n{second}\n")).unwrap();
            let error = documents(&path).unwrap_err();
            let DataError::JsonLine {
                line: 2,
                reason: found,
                ..
            } = &error
            else {
                panic!("{error}");
            };
            assert!(found.contains(reason), "{found}");
        }
    }

    #[test]
    fn long_text_files_are_cut_at_line_ends() {
        let folder = tempfile::tempdir().unwrap();
        let text = "some line\n".repeat(250_000);
        std::fs::write(folder.path().join("a.txt"), &text).unwrap();
        std::fs::write(folder.path().join("b.bin"), [0, 1]).unwrap();
        let found = documents(folder.path()).unwrap();
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|document| document.ends_with('\n')));
        assert_eq!(found.concat(), text);
    }
}
