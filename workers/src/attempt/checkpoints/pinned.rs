//! A checkpoint that stays while it is on its way into the store, whatever the training does with its own.
//!
//! One rule: it is believed only after every byte of what is pinned has its hash.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::attempt::manifest;

/// The folder of links to a checkpoint's files; it goes when this is dropped. The bytes are on the disk once.
#[derive(Debug)]
pub(in crate::attempt) struct Pinned {
    folder: PathBuf,
    pub(in crate::attempt) step: u32,
    pub(in crate::attempt) sha256: String,
}

impl Pinned {
    /// Links the files of the checkpoint at `place`, which must have the hash `sha256`, into `folder`. Blocks.
    ///
    /// # Errors
    /// Why it is not usable, for the log of the job. A checkpoint that is gone is an error as well.
    pub(in crate::attempt) fn new(
        place: &Path,
        folder: PathBuf,
        step: u32,
        sha256: &str,
    ) -> Result<Self, String> {
        let pinned = Self {
            folder,
            step,
            sha256: sha256.to_owned(),
        };
        link_folder(place, &pinned.folder).map_err(|error| format!("it cannot be kept: {error}"))?;
        manifest::verified(&pinned.folder, sha256)?;
        Ok(pinned)
    }

    /// Where its files are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.folder.display(), %error, "a checkpoint's links are left");
            }
            _ => {}
        }
    }
}

/// Links the files of a folder, or copies them where there are no links.
fn link_folder(from: &Path, to: &Path) -> io::Result<()> {
    match fs::remove_dir_all(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir_all(to)?,
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            continue;
        }
        let target = to.join(entry.file_name());
        match fs::hard_link(entry.path(), &target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
            Err(_) => fs::copy(entry.path(), &target).map(|_| ())?,
            Ok(()) => {}
        }
    }
    Ok(())
}
