//! What a result may take the place of. Replacing removes what was there, so only what is plainly an
//! earlier result goes.

use std::fs;
use std::path::Path;

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
pub(super) fn replaceable(
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
