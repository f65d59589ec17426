//! Text files and folders of them.

use std::fs;
use std::path::{Path, PathBuf};

use super::documents::{is_json_lines, text_of_line};
use super::{DataError, Text};

/// One document, file or byte of this many is held out.
pub(super) const HELD_OUT: usize = 10;

/// Bytes read at most, training and held-out text together: more is for `tokenize`, which does not
/// keep it in memory.
const MAX_BYTES: usize = 256 << 20;

/// A text with more control characters than one in this many bytes is none.
const MAX_CONTROL: usize = 20;

/// Reads a text file, or the text files below a folder.
pub(super) fn load(path: &Path) -> Result<Text, DataError> {
    let meta = fs::metadata(path).map_err(DataError::unreadable(path))?;
    if !meta.is_dir() {
        let mut text = read_documents(path)?;
        if text.len() > MAX_BYTES {
            tracing::warn!(
                bytes = text.len(),
                "only the first {MAX_BYTES} bytes are read; `tokenize` takes all of a text"
            );
            text.truncate(MAX_BYTES);
        }
        return Ok(split_text(&text, path.display().to_string()));
    }
    let (mut texts, mut skipped, mut bytes) = (Vec::new(), 0, 0);
    for file in files_below(path)? {
        match read_documents(&file) {
            Ok(text) if bytes + text.len() <= MAX_BYTES => {
                bytes += text.len();
                texts.push(text);
            }
            // Folders hold images and the like besides text.
            Ok(_) | Err(DataError::Binary { .. } | DataError::Empty { .. }) => skipped += 1,
            Err(error) => return Err(error),
        }
    }
    if skipped > 0 {
        tracing::info!(
            skipped,
            "skipped files that are not text, or over the limit"
        );
    }
    let source = format!("{} files of {}", texts.len(), path.display());
    match texts.as_slice() {
        [] => Err(DataError::NoText {
            path: path.into(),
            skipped,
        }),
        few if few.len() < HELD_OUT => Ok(split_text(&few.concat(), source)),
        many => {
            let (valid, train): (Vec<_>, Vec<_>) = many
                .iter()
                .enumerate()
                .partition(|(index, _)| index % HELD_OUT == HELD_OUT - 1);
            let concat = |part: Vec<(usize, &Vec<u8>)>| -> Vec<u8> {
                part.into_iter()
                    .flat_map(|(_, text)| text)
                    .copied()
                    .collect()
            };
            Ok(Text {
                train: concat(train),
                valid: concat(valid),
                source,
            })
        }
    }
}

/// Holds out the end of `text`.
fn split_text(text: &[u8], source: String) -> Text {
    let (train, valid) = text.split_at(text.len() - text.len() / HELD_OUT);
    Text {
        train: train.into(),
        valid: valid.into(),
        source,
    }
}

/// The text of a file: what it holds, or the documents of its lines, each with a line end.
fn read_documents(path: &Path) -> Result<Vec<u8>, DataError> {
    let text = read_text(path)?;
    if !is_json_lines(path) {
        return Ok(text);
    }
    let text = String::from_utf8_lossy(&text);
    let mut documents = String::new();
    for (number, line) in text.lines().enumerate() {
        if !line.trim().is_empty() {
            documents += &text_of_line(path, number + 1, line)?;
            documents.push('\n');
        }
    }
    Ok(documents.into_bytes())
}

/// Every file below `folder`, ordered by path; hidden ones and links to folders are left out.
pub(super) fn files_below(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(DataError::unreadable(&folder))? {
            let entry = entry.map_err(DataError::unreadable(&folder))?;
            let kind = entry
                .file_type()
                .map_err(DataError::unreadable(&entry.path()))?;
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            } else if kind.is_dir() {
                folders.push(entry.path());
            } else if entry.path().is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The content of a file, if it is text.
pub(super) fn read_text(path: &Path) -> Result<Vec<u8>, DataError> {
    let bytes = fs::read(path).map_err(DataError::unreadable(path))?;
    let binary = |reason| {
        Err(DataError::Binary {
            path: path.into(),
            reason,
        })
    };
    if bytes.is_empty() {
        return Err(DataError::Empty { path: path.into() });
    }
    if let Some(offset) = bytes.iter().position(|byte| *byte == 0) {
        return binary(format!("a NUL byte at offset {offset}"));
    }
    let control = bytes.iter().filter(|byte| byte.is_ascii_control());
    let control = control.filter(|byte| !byte.is_ascii_whitespace()).count();
    if control > bytes.len() / MAX_CONTROL {
        return binary(format!(
            "{control} of {} bytes are control characters",
            bytes.len()
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    #[test]
    fn the_end_of_a_single_file_is_held_out() {
        let folder = folder(&[("a.txt", &b"0123456789".repeat(10))]);
        let corpus = load(&folder.path().join("a.txt")).unwrap();
        assert_eq!((corpus.train.len(), corpus.valid.len()), (90, 10));
    }

    #[test]
    fn whole_files_of_a_folder_are_held_out_in_the_order_of_their_paths() {
        let names: Vec<_> = (0..20).map(|i| format!("{}/{i:02}.txt", i % 3)).collect();
        let contents: Vec<_> = (0..20).map(|i| format!("{i:02};")).collect();
        let files: Vec<_> = names
            .iter()
            .zip(&contents)
            .map(|(n, c)| (n.as_str(), c.as_bytes()))
            .collect();
        let folder = folder(&files);
        let corpus = load(folder.path()).unwrap();
        // By path: 00 03 .. 18 in folder 0, 01 04 .. 19 in folder 1, 02 .. 17 in folder 2.
        assert_eq!(&*corpus.valid, b"07;17;");
        assert_eq!(corpus.train.len(), 18 * 3);
        assert!(corpus.train.starts_with(b"00;03;06;"));
    }

    #[test]
    fn files_of_a_folder_that_are_not_text_are_left_out() {
        let folder = folder(&[
            ("a.txt", b"some text"),
            ("b.bin", b"\0\x01"),
            ("c", b""),
            (".d", b"x"),
        ]);
        let corpus = load(folder.path()).unwrap();
        assert_eq!([&*corpus.train, &*corpus.valid].concat(), b"some text");
    }

    #[test]
    fn the_documents_of_json_lines_are_the_text() {
        let lines = "{\"text\":\"one\"}\n\n{\"text\":\"two\\nthree\"}\n";
        let folder = folder(&[("a.jsonl", lines.as_bytes())]);
        let corpus = load(&folder.path().join("a.jsonl")).unwrap();
        assert_eq!([corpus.train, corpus.valid].concat(), b"one\ntwo\nthree\n");
    }

    #[test]
    fn a_nul_byte_is_refused_with_its_offset() {
        let folder = folder(&[("a", b"text\0text")]);
        let error = load(&folder.path().join("a")).unwrap_err();
        assert!(matches!(&error, DataError::Binary { reason, .. } if reason.contains("offset 4")));
    }

    #[test]
    fn control_characters_without_a_nul_are_refused_too() {
        let noise: Vec<u8> = (0..4096u32).map(|i| (i * 97 % 255) as u8 + 1).collect();
        let folder = folder(&[("a", &noise)]);
        let error = load(&folder.path().join("a")).unwrap_err();
        assert!(matches!(error, DataError::Binary { .. }), "{error}");
    }

    #[test]
    fn text_in_another_encoding_is_text() {
        let latin1: Vec<u8> = b"D\xe9j\xe0 vu\r\n".repeat(50);
        let folder = folder(&[("a", &latin1)]);
        assert!(load(&folder.path().join("a")).is_ok());
    }

    #[test]
    fn an_empty_file_an_empty_folder_and_a_missing_one_are_refused() {
        let folder = folder(&[("a", b"")]);
        let path = folder.path();
        assert!(matches!(
            load(&path.join("a")),
            Err(DataError::Empty { .. })
        ));
        assert!(matches!(
            load(path),
            Err(DataError::NoText { skipped: 1, .. })
        ));
        assert!(matches!(
            load(&path.join("no")),
            Err(DataError::Unreadable { .. })
        ));
    }
}
