//! Results that are made elsewhere and appear whole, in the place of what was there.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use tempfile::TempDir;

/// A file or folder that could not be made or moved.
pub(crate) struct Stuck {
    pub path: PathBuf,
    pub reason: io::Error,
}

fn stuck(path: &Path) -> impl FnOnce(io::Error) -> Stuck + use<> {
    let path = PathBuf::from(path);
    move |reason| Stuck { path, reason }
}

/// A folder to make a result in that will be moved to `to`: removed with all that is left in it, whatever
/// happens.
pub(crate) fn scratch(to: &Path) -> Result<TempDir, Stuck> {
    let parent = workplace(to);
    tempfile::Builder::new()
        .prefix(".tritburn-")
        .tempdir_in(&parent)
        .map_err(stuck(&parent))
}

/// The folder that a result is made in: beside the place it will have, or within a folder that cannot
/// give its place away.
fn workplace(to: &Path) -> PathBuf {
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

/// Gives a result that lies in `scratch` its name. What was there goes to `scratch` first, and back if that
/// fails.
pub(crate) fn replace(result: &Path, to: &Path, scratch: &Path) -> Result<(), Stuck> {
    let old = &scratch.join("old");
    if stays(to) {
        fs::create_dir(old).map_err(stuck(old))?;
        move_all(to, old, Some(scratch))?;
        return move_all(result, to, None).inspect_err(|_| {
            let back = move_all(to, result, Some(scratch)).and_then(|()| move_all(old, to, None));
            if let Err(Stuck { reason, .. }) = back {
                tracing::error!("{} cannot be put back: {reason}", to.display());
            }
        });
    }
    let existed = fs::symlink_metadata(to).is_ok();
    if existed {
        fs::rename(to, old).map_err(stuck(to))?;
    }
    fs::rename(result, to).map_err(|reason| {
        if existed && let Err(error) = fs::rename(old, to) {
            tracing::error!("{} cannot be put back: {error}", to.display());
        }
        stuck(to)(reason)
    })
}

/// Moves all that a folder holds, but for one of its folders.
fn move_all(from: &Path, to: &Path, but: Option<&Path>) -> Result<(), Stuck> {
    let entries: io::Result<Vec<_>> = fs::read_dir(from).and_then(Iterator::collect);
    for entry in entries.map_err(stuck(from))? {
        let name = entry.file_name();
        if but.is_some_and(|but| but.file_name() == Some(&name)) {
            continue;
        }
        fs::rename(entry.path(), to.join(&name)).map_err(stuck(&entry.path()))?;
    }
    Ok(())
}
