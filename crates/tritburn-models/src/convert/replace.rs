//! What a result may take the place of. Replacing removes what was there, so only what is plainly an
//! earlier result goes.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use super::job::io_error;
use super::{ConvertError, Target};
use crate::checkpoint::{bitnet_gpu_names, open};
use crate::text::TokenizerFiles;

/// Files of the folders that conversions write, besides those of [`TokenizerFiles`].
const WRITTEN: [&str; 3] = ["config.json", "model.safetensors", bitnet_gpu_names::FILE];

/// Refuses to replace anything unless `force`, and then what no conversion to this kind of target
/// wrote: a file replaces a file, a folder an empty folder or one that holds a model and nothing else.
/// What is not there may be written.
/// `scratch` is where the result is being made, which is no matter.
pub(super) fn check(
    to: &Path,
    target: Target,
    force: bool,
    scratch: Option<&Path>,
) -> Result<(), ConvertError> {
    if fs::symlink_metadata(to).is_err() {
        return Ok(());
    }
    if !force {
        return Err(ConvertError::Exists {
            path: to.to_path_buf(),
        });
    }
    match (to.is_file(), to.is_dir(), target.is_file()) {
        (true, _, true) => Ok(()),
        (_, true, false) => check_folder(to, scratch),
        (true, _, false) => Err(kept(to, format!("it is a file, and {target} a folder"))),
        (_, true, true) => Err(kept(to, format!("it is a folder, and {target} a file"))),
        _ => Err(kept(to, "it is neither a file nor a folder".to_string())),
    }
}

fn check_folder(folder: &Path, scratch: Option<&Path>) -> Result<(), ConvertError> {
    let mut empty = true;
    for entry in fs::read_dir(folder).map_err(io_error(folder))? {
        let entry = entry.map_err(io_error(folder))?;
        let name = entry.file_name();
        if scratch.is_some_and(|scratch| scratch.file_name() == Some(&name)) {
            continue;
        }
        let known = WRITTEN.into_iter().chain(TokenizerFiles::NAMES);
        let is_dir = entry.file_type().map_err(io_error(&entry.path()))?.is_dir();
        if is_dir || !known.into_iter().any(|known| name == known) {
            let name = name.display();
            return Err(kept(
                folder,
                format!("it holds {name}, which no conversion writes"),
            ));
        }
        empty = false;
    }
    if empty {
        return Ok(());
    }
    match open(folder) {
        Ok(_) => Ok(()),
        Err(source) => Err(ConvertError::NoModel {
            path: folder.to_path_buf(),
            source: Box::new(source),
        }),
    }
}

fn kept(path: &Path, reason: String) -> ConvertError {
    ConvertError::Kept {
        path: path.to_path_buf(),
        reason,
    }
}

/// The folder that a result is made in: beside the place it will have, or within a folder that cannot
/// give its place away.
pub(super) fn workplace(to: &Path) -> PathBuf {
    if stays(to) {
        return to.to_path_buf();
    }
    match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Whether a folder stays where it is and only what it holds is replaced: `.` and the like.
fn stays(to: &Path) -> bool {
    let same = |folder: io::Result<PathBuf>| {
        let canonical = fs::canonicalize(to);
        folder.is_ok_and(|folder| canonical.is_ok_and(|to| to == folder))
    };
    to.is_dir() && (to.file_name().is_none() || same(env::current_dir()))
}

/// Gives the result its name. What was there goes to `old` first, and back if that fails. Both lie in
/// `scratch`.
pub(super) fn replace(
    result: &Path,
    to: &Path,
    scratch: &Path,
    old: &Path,
) -> Result<(), ConvertError> {
    if stays(to) {
        fs::create_dir(old).map_err(io_error(old))?;
        move_all(to, old, Some(scratch))?;
        return move_all(result, to, None).inspect_err(|_| {
            let back = move_all(to, result, Some(scratch)).and_then(|()| move_all(old, to, None));
            if let Err(error) = back {
                tracing::error!("{} cannot be put back: {error}", to.display());
            }
        });
    }
    let existed = fs::symlink_metadata(to).is_ok();
    if existed {
        fs::rename(to, old).map_err(io_error(to))?;
    }
    fs::rename(result, to).map_err(|source| {
        if existed && let Err(error) = fs::rename(old, to) {
            tracing::error!("{} cannot be put back: {error}", to.display());
        }
        io_error(to)(source)
    })
}

/// Moves all that a folder holds, but for one of its folders.
fn move_all(from: &Path, to: &Path, but: Option<&Path>) -> Result<(), ConvertError> {
    let entries: io::Result<Vec<_>> = fs::read_dir(from).and_then(Iterator::collect);
    for entry in entries.map_err(io_error(from))? {
        let name = entry.file_name();
        if but.is_some_and(|but| but.file_name() == Some(&name)) {
            continue;
        }
        fs::rename(entry.path(), to.join(&name)).map_err(io_error(&entry.path()))?;
    }
    Ok(())
}
