//! That nobody else reads what is in the data folder.
//!
//! The rule: the folder is ours and 0700. One of ours that stood open, with what an earlier build left in it, is
//! closed at the start; one that belongs to somebody else, or holds other people's things, is refused with what to
//! type. New files are private by the process's umask.

use std::fs::{Metadata, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::error::{ClusterError, at};

/// What a folder may hold besides ours before we call it ours: what file systems and operators put there.
const GIVEN: [&str; 4] = ["anneal.toml", "lost+found", "lock", "keys"];
/// The folder of the server's account, which closes it itself.
const SERVER: &str = "postgres";
/// The bits of others.
const OTHERS: u32 = 0o077;

/// Closes the data folder `folder`.
///
/// # Errors
/// [`ClusterError::OfAnotherUser`], [`ClusterError::SharedFolder`]; [`ClusterError::Io`] when it cannot be changed.
pub(super) fn close(folder: &Path) -> Result<(), ClusterError> {
    let about = folder.metadata().map_err(at("look at", folder))?;
    let us = geteuid().as_raw();
    if about.uid() != us {
        let (folder, owner) = (folder.to_owned(), about.uid());
        return Err(ClusterError::OfAnotherUser { folder, owner, us });
    }
    let mode = about.mode() & 0o7777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    if !is_ours(folder)? {
        let folder = folder.to_owned();
        return Err(ClusterError::SharedFolder { folder, mode });
    }
    set(folder, &about)?;
    close_below(folder, us)?;
    tracing::warn!(
        folder = %folder.display(),
        mode = %format_args!("{mode:04o}"),
        "the data folder was open to others; it and what is in it are private now"
    );
    Ok(())
}

fn is_ours(folder: &Path) -> Result<bool, ClusterError> {
    let mut ours = true;
    for entry in std::fs::read_dir(folder).map_err(at("read", folder))? {
        let name = entry.map_err(at("read", folder))?.file_name();
        if name == "VERSION" {
            return Ok(true);
        }
        ours &= GIVEN.iter().any(|given| name == *given);
    }
    Ok(ours)
}

/// Closes our files and folders below `top`. Links are not followed, and what changes meanwhile is passed over.
fn close_below(top: &Path, us: u32) -> Result<(), ClusterError> {
    let mut open: Vec<PathBuf> = vec![top.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).map_err(at("read", &folder))? {
            let path = entry.map_err(at("read", &folder))?.path();
            let Ok(about) = path.symlink_metadata() else {
                continue;
            };
            if about.is_symlink() || about.uid() != us || path == top.join(SERVER) {
                continue;
            }
            set(&path, &about)?;
            if about.is_dir() {
                open.push(path);
            }
        }
    }
    Ok(())
}

/// Takes the bits of others away.
fn set(path: &Path, about: &Metadata) -> Result<(), ClusterError> {
    let mode = about.mode() & 0o7777;
    match mode & OTHERS {
        0 => Ok(()),
        _ => std::fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS & !0o7000))
            .map_err(at("make private", path)),
    }
}

#[cfg(test)]
mod tests {
    use super::close;
    use crate::postgres::ClusterError;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::path::Path;

    fn mode(path: &Path) -> u32 {
        path.metadata().expect("there").permissions().mode() & 0o7777
    }

    fn set(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set");
    }

    /// FR12: a folder of an earlier build, or one that an operator made.
    #[test]
    fn a_folder_of_ours_that_stood_open_is_closed_with_what_is_in_it() {
        let outside = tempfile::NamedTempFile::new().expect("a file");
        set(outside.path(), 0o644);
        for ours in [true, false] {
            let folder = tempfile::tempdir().expect("a folder");
            let (deep, file) = (folder.path().join("keys/a"), folder.path().join("keys/a/b"));
            std::fs::create_dir_all(&deep).expect("made");
            std::fs::write(&file, "x").expect("written");
            symlink(outside.path(), folder.path().join("keys/link")).expect("linked");
            if ours {
                std::fs::write(folder.path().join("VERSION"), "1\n").expect("written");
                std::fs::write(folder.path().join("anything"), "x").expect("written");
            }
            for (path, open) in [(folder.path(), 0o2775), (&deep, 0o755), (&file, 0o644)] {
                set(path, open);
            }
            close(folder.path()).expect("closed");
            assert_eq!(
                (mode(folder.path()), mode(&deep), mode(&file)),
                (0o700, 0o700, 0o600)
            );
            assert_eq!(mode(outside.path()), 0o644, "links are not followed");
        }
    }

    #[test]
    fn a_folder_with_other_things_in_it_is_left_alone_and_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("thesis.tex"), "x").expect("written");
        set(folder.path(), 0o700);
        close(folder.path()).expect("it is private");
        set(folder.path(), 0o755);
        let error = close(folder.path()).expect_err("refused");
        assert!(
            matches!(error, ClusterError::SharedFolder { mode: 0o755, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("--data"), "{error}");
        assert_eq!(mode(folder.path()), 0o755);
    }

    /// Only root can give a folder away.
    #[test]
    fn a_folder_of_another_user_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        if !nix::unistd::geteuid().is_root() {
            let error = close(Path::new("/")).expect_err("root's");
            assert!(
                matches!(error, ClusterError::OfAnotherUser { owner: 0, .. }),
                "{error}"
            );
            return;
        }
        chown(folder.path(), Some(12_345), None).expect("given away");
        let error = close(folder.path()).expect_err("refused");
        assert!(
            matches!(
                error,
                ClusterError::OfAnotherUser {
                    owner: 12_345,
                    us: 0,
                    ..
                }
            ),
            "{error}"
        );
        assert!(error.to_string().contains("chown"), "{error}");
    }
}
