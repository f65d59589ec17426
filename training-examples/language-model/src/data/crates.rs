//! Rust sources that cargo has unpacked to build this program.

use std::path::{Path, PathBuf};
use std::{env, fs};

use super::files::{files_below, read_text};
use super::{DataError, Text};

/// Bytes read at most, training and held-out text together.
const MAX_BYTES: usize = 24 << 20;

/// Crates that every build of this program unpacks, whatever its features and platform: a fixed
/// list, so that the text does not depend on what else a machine holds.
const TRAIN: [&str; 26] = [
    "aho-corasick",
    "burn-autodiff",
    "burn-backend",
    "burn-core",
    "burn-dataset",
    "burn-flex",
    "burn-ir",
    "burn-nn",
    "burn-optim",
    "burn-std",
    "burn-tensor",
    "burn-train",
    "bytes",
    "clap_builder",
    "csv",
    "futures-util",
    "hashbrown",
    "itertools",
    "memchr",
    "ratatui-core",
    "ratatui-widgets",
    "rayon",
    "regex-automata",
    "serde",
    "syn",
    "tracing-subscriber",
];

/// Crates held out, chosen as [`TRAIN`] is.
const VALID: [&str; 4] = ["burn-store", "indexmap", "serde_json", "thiserror"];

/// Files longer than this are generated tables rather than code.
const MAX_FILE: usize = 200 << 10;

pub(super) fn load() -> Result<Text, DataError> {
    let lock = find_lock()?;
    let lock = fs::read_to_string(&lock).map_err(DataError::unreadable(&lock))?;
    let registries = registries()?;
    let mut found = 0;
    let mut read = |names: &[&str], limit: usize| -> Result<Vec<u8>, DataError> {
        let mut text = Vec::new();
        for name in names {
            match unpacked(name, &lock, &registries) {
                Some(folder) => {
                    found += 1;
                    append_sources(&folder, limit, &mut text)?;
                }
                None => tracing::warn!("the sources of {name} are not unpacked on this machine"),
            }
        }
        Ok(text)
    };
    let valid = read(&VALID, MAX_BYTES / 8)?;
    let train = read(&TRAIN, MAX_BYTES - valid.len())?;
    if train.is_empty() || valid.is_empty() {
        let reason = format!(
            "of {} crates {found} are unpacked",
            TRAIN.len() + VALID.len()
        );
        return Err(DataError::NoCrates { reason });
    }
    let source = format!("Rust sources of {found} crates");
    Ok(Text {
        train,
        valid,
        source,
    })
}

/// The lock file of this build, else one above the current folder.
fn find_lock() -> Result<PathBuf, DataError> {
    let here = env::current_dir().unwrap_or_default();
    let above = |folder: &Path| {
        folder
            .ancestors()
            .map(|f| f.join("Cargo.lock"))
            .find(|lock| lock.is_file())
    };
    above(Path::new(env!("CARGO_MANIFEST_DIR")))
        .or_else(|| above(&here))
        .ok_or_else(|| DataError::NoCrates {
            reason: "no Cargo.lock".into(),
        })
}

/// The folders into which cargo unpacks crates, one a registry.
fn registries() -> Result<Vec<PathBuf>, DataError> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let sources = home.unwrap_or_default().join("registry").join("src");
    let entries = fs::read_dir(&sources).map_err(|reason| DataError::NoCrates {
        reason: format!("{}: {reason}", sources.display()),
    })?;
    let mut folders: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    Ok(folders)
}

/// The folder of the crate `name`, in the newest version that the lock file has.
fn unpacked(name: &str, lock: &str, registries: &[PathBuf]) -> Option<PathBuf> {
    let version = locked_versions(lock, name).last()?;
    let folder = format!("{name}-{version}");
    registries
        .iter()
        .map(|registry| registry.join(&folder))
        .find(|folder| folder.is_dir())
}

/// Versions of the crate `name` in a lock file, oldest first.
fn locked_versions<'a>(lock: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let quoted = |line: &'a str, key: &str| {
        line.strip_prefix(key)?
            .strip_prefix(" = \"")?
            .strip_suffix('"')
    };
    lock.split("[[package]]").filter_map(move |package| {
        let mut lines = package.trim_start().lines();
        (quoted(lines.next()?, "name")? == name).then(|| quoted(lines.next()?, "version"))?
    })
}

/// Appends the Rust files of a crate to `text` while it stays below `limit`.
fn append_sources(folder: &Path, limit: usize, text: &mut Vec<u8>) -> Result<(), DataError> {
    for file in files_below(folder)? {
        if file.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        match read_text(&file) {
            Ok(source) if source.len() <= MAX_FILE && text.len() + source.len() <= limit => {
                text.extend(source);
            }
            Ok(_) | Err(DataError::Empty { .. } | DataError::Binary { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_locked_version_of_the_very_name_is_found() {
        let lock = "version = 4\n\n[[package]]\nname = \"syn\"\nversion = \"2.0.1\"\n\n\
                    [[package]]\nname = \"syn\"\nversion = \"3.0.9\"\ndependencies = [\n \"a\",\n]\n\n\
                    [[package]]\nname = \"syn-mid\"\nversion = \"9.0.0\"\n";
        assert_eq!(
            locked_versions(lock, "syn").collect::<Vec<_>>(),
            ["2.0.1", "3.0.9"]
        );
        assert_eq!(locked_versions(lock, "synx").count(), 0);
    }

    #[test]
    fn every_crate_of_the_list_is_locked_and_unpacked() {
        let lock = fs::read_to_string(find_lock().unwrap()).unwrap();
        let registries = registries().unwrap();
        for name in TRAIN.iter().chain(&VALID) {
            assert!(unpacked(name, &lock, &registries).is_some(), "{name}");
        }
    }

    #[test]
    fn the_default_text_is_the_same_each_time_and_within_the_limit() {
        let (one, other) = (load().unwrap(), load().unwrap());
        assert_eq!((&one.train, &one.valid), (&other.train, &other.valid));
        assert!(one.train.len() + one.valid.len() <= MAX_BYTES);
        assert!(one.train.len() > 4 << 20, "{}", one.train.len());
    }
}
