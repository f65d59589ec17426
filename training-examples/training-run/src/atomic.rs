//! Files that a kill leaves whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes a file that, at any moment, is there whole or not at all.
///
/// # Errors
/// What the system says.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let mut file = File::create(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&partial, path)
}
