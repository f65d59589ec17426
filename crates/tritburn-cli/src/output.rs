//! Files that a command writes where its user says.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Refuses to write over a file that is there, unless `force`. Pipes, devices and links to them are
/// there to be written to.
pub fn check(path: &Path, force: bool) -> Result<()> {
    match fs::metadata(path) {
        Ok(about) if about.is_dir() => bail!("{} is a folder", path.display()),
        // Redirected output is a file behind a link, empty at first.
        Ok(about) if about.is_file() && !force && !(is_link(path) && about.len() == 0) => {
            bail!("{} exists; --force replaces it", path.display())
        }
        _ => Ok(()),
    }
}

/// Writes a file whole, or leaves none; where something else than a file is, writes to it.
pub fn write(path: &Path, bytes: &[u8], force: bool) -> Result<()> {
    check(path, force)?;
    let failed = || format!("cannot write {}", path.display());
    let there = fs::symlink_metadata(path);
    if there.as_ref().is_ok_and(|about| !about.is_file()) {
        let mut to = OpenOptions::new()
            .write(true)
            .open(path)
            .with_context(failed)?;
        let truncated = to.metadata().is_ok_and(|about| about.is_file());
        if truncated {
            to.set_len(0).with_context(failed)?;
        }
        return to.write_all(bytes).with_context(failed);
    }
    if there.is_ok() {
        // What maps the old file keeps it.
        fs::remove_file(path).with_context(failed)?;
    }
    let written = File::create_new(path).and_then(|file| write_whole(file, bytes));
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written.with_context(failed)
}

fn write_whole(mut file: File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.flush()
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|about| about.is_symlink())
}
