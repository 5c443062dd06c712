//! Numbered folders and checkpoints in a folder.
//!
//! One rule: what cannot be read counts as empty; the caller starts without it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The checkpoints in a folder, oldest first; none when it cannot be read.
pub(crate) fn saved(checkpoints: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = entries(checkpoints)
        .into_iter()
        .filter(|path| step(path).is_some())
        .collect();
    found.sort_unstable();
    found
}

/// The step of a checkpoint, by the name of its folder.
pub(crate) fn step(checkpoint: &Path) -> Option<u32> {
    checkpoint
        .file_name()?
        .to_str()?
        .strip_prefix("step-")?
        .parse()
        .ok()
}

/// The numbered folders in `folder`, lowest first.
pub(super) fn numbered(folder: &Path) -> Vec<(u32, PathBuf)> {
    let mut found: Vec<(u32, PathBuf)> = entries(folder)
        .into_iter()
        .filter_map(|path| number(&path).map(|number| (number, path)))
        .collect();
    found.sort_unstable();
    found
}

/// The number that names a folder.
pub(super) fn number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.parse().ok()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect()
}

/// Removes a folder with all in it; one that is not there is no error.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
