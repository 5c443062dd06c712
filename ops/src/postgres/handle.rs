//! A folder handed to a program that may not walk the path to it.
//!
//! Root's folders are closed to the account that the server runs as. Linux lets a process reach a folder
//! that it holds open by the name `/proc/self/fd/<n>`, without any right on the folders above. So we open
//! the folder and hand it down as number 9 through the shell that starts the program; `/root/data` then
//! works for the account `postgres` as it does for root. Elsewhere the path itself is used.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::account::{Account, is_private};
use super::error::{ClusterError, at};

/// The folder, open or by its path.
pub(super) struct FolderHandle {
    path: PathBuf,
    open: Option<File>,
}

impl FolderHandle {
    /// Opens `path` for programs of `account`.
    ///
    /// # Errors
    /// [`ClusterError::Unreachable`] where the path must be walked and a folder above it is closed.
    pub(super) fn open(path: &Path, account: &Account) -> Result<Self, ClusterError> {
        let open = if account.is_other() && Path::new("/proc/self/fd").exists() {
            Some(File::open(path).map_err(at("open", path))?)
        } else {
            check_path_is_open(path, account)?;
            None
        };
        Ok(Self {
            path: path.to_owned(),
            open,
        })
    }

    /// How the program names the folder.
    pub(super) fn name(&self) -> String {
        match self.open {
            Some(_) => "/proc/self/fd/9".into(),
            None => self.path.to_string_lossy().into_owned(),
        }
    }

    /// The open folder as a stream of a child, whose shell moves it to number 9.
    pub(super) fn stream(&self) -> Result<Stdio, ClusterError> {
        match &self.open {
            Some(folder) => Ok(folder.try_clone().map_err(at("open", &self.path))?.into()),
            None => Ok(Stdio::null()),
        }
    }
}

fn check_path_is_open(path: &Path, account: &Account) -> Result<(), ClusterError> {
    if !account.is_other() {
        return Ok(());
    }
    for folder in path.ancestors().skip(1) {
        let found = folder.metadata().map_err(at("open", folder))?;
        if found.mode() & 0o001 == 0 && !is_private(folder, account.uid()) {
            let account = account.name().to_owned();
            return Err(ClusterError::Unreachable {
                account,
                folder: folder.to_owned(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_path_is_open;
    use crate::postgres::{Account, ClusterError};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_first_closed_folder_is_named_to_root() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let closed = temporary.path().join("closed");
        std::fs::create_dir_all(closed.join("data")).expect("made");
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).expect("closed");
        let account = Account::of_server().expect("an account");
        let checked = check_path_is_open(&closed.join("data"), &account);
        if account.is_other() {
            assert!(matches!(checked, Err(ClusterError::Unreachable { folder, .. }) if folder == closed));
        } else {
            checked.expect("as ourselves we may");
        }
    }
}
