//! The data folder: made private, locked for one process, and checked for its format.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use small_files::{open_regular_with, other_kind, read_text};

use super::error::{ClusterError, at};

/// The most that is read of a file with one number, in bytes.
const LARGEST: u64 = 4_096;

/// The format of the folder that this program writes. Raise it when an older program could no longer
/// work on the folder.
const FORMAT: u32 = 1;

/// The locked data folder. The lock ends with the value, or with the process.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    lock: File,
}

impl DataFolder {
    /// Makes the folder if need be (mode 0700), closes it to others, locks it for this process and checks its format.
    ///
    /// # Errors
    /// [`ClusterError::InUse`] when another process holds it, [`ClusterError::NewerFormat`] and
    /// [`ClusterError::NotOurs`] when it is not for this program, [`ClusterError::OfAnotherUser`] and
    /// [`ClusterError::SharedFolder`] when others could read what is in it, [`ClusterError::Io`] else.
    pub fn open(path: &Path) -> Result<Self, ClusterError> {
        refuse_no_folder(path)?;
        make_private(path)?;
        let path = path.canonicalize().map_err(at("open", path))?;
        super::private::close(&path)?;
        let lock = lock(&path)?;
        fail::fail_point!("setup.folder_locked");
        check_format(&path)?;
        Ok(Self { path, lock })
    }

    /// The absolute path, without symbolic links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for DataFolder {
    /// Unlocks by word: closing alone is not enough while a child that was forked this instant still
    /// holds its copy of the file. When it fails, the lock ends with that child.
    fn drop(&mut self) {
        if let Err(error) = self.lock.unlock() {
            tracing::debug!(%error, "unlocking the data folder");
        }
    }
}

/// Says what is in the place of the folder, where it is no folder.
///
/// # Errors
/// [`ClusterError::NoFolder`].
pub fn refuse_no_folder(path: &Path) -> Result<(), ClusterError> {
    let refuse = |found: String| {
        Err(ClusterError::NoFolder {
            folder: path.to_owned(),
            found,
        })
    };
    match path.metadata() {
        Ok(about) if about.is_dir() => match std::fs::read_dir(path) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                refuse("is not accessible to the user that runs Anneal".to_owned())
            }
            _ => Ok(()),
        },
        Ok(about) => refuse(format!(
            "is {}, not a folder",
            other_kind(&about).unwrap_or("a file")
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => match path.is_symlink() {
            true => refuse("is a link to a folder that is not there".to_owned()),
            false => Ok(()),
        },
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            refuse("lies below a file, and so cannot be a folder".to_owned())
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            refuse("is not accessible to the user that runs Anneal".to_owned())
        }
        Err(error) => Err(at("look at", path)(error)),
    }
}

/// Makes a folder, and those above it, that only we may enter. One that is there stays as it is.
pub(super) fn make_private(path: &Path) -> Result<(), ClusterError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(at("make the folder", path))
}

fn lock(folder: &Path) -> Result<File, ClusterError> {
    let path = folder.join("lock");
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let mut file = open_regular_with(&path, &mut options)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            (&mut file)
                .take(LARGEST)
                .read_to_string(&mut pid)
                .map_err(at("read", &path))?;
            let pid = Some(pid.trim())
                .filter(|pid| !pid.is_empty())
                .unwrap_or("unknown");
            return Err(ClusterError::InUse {
                folder: folder.to_owned(),
                pid: pid.to_owned(),
            });
        }
        Err(TryLockError::Error(source)) => return Err(at("lock", &path)(source)),
    }
    let pid = std::process::id();
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{pid}"))
        .map_err(at("write", &path))?;
    Ok(file)
}

fn check_format(folder: &Path) -> Result<(), ClusterError> {
    let path = folder.join("VERSION");
    match read_text(&path, LARGEST) {
        Ok(text) => {
            let found = text
                .trim()
                .parse()
                .map_err(|_| ClusterError::NotOurs { file: path })?;
            if found > FORMAT {
                return Err(ClusterError::NewerFormat {
                    folder: folder.to_owned(),
                    found,
                    known: FORMAT,
                });
            }
            Ok(())
        }
        Err(error) if error.is_not_found() => replace(&path, &format!("{FORMAT}\n"), |_| Ok(())),
        Err(error) => Err(error.into()),
    }
}

/// The space that is free to this process on the file system of `folder`, in bytes.
///
/// # Errors
/// When the folder is not there.
pub fn free_bytes(folder: &Path) -> std::io::Result<u64> {
    let found = nix::sys::statvfs::statvfs(folder)?;
    #[cfg_attr(
        target_os = "linux",
        expect(clippy::useless_conversion, reason = "32 bits wide elsewhere")
    )]
    let (blocks, size) = (
        u64::from(found.blocks_available()),
        u64::from(found.fragment_size()),
    );
    Ok(blocks.saturating_mul(size))
}

/// Puts `text` at `path` at once and durably: a reader sees the old file or the new one. The new file is
/// readable by its owner alone; `prepare` may give it away before it takes the name. A symbolic link in
/// the way is replaced, never followed.
pub(super) fn replace(
    path: &Path,
    text: &str,
    prepare: impl FnOnce(&Path) -> Result<(), ClusterError>,
) -> Result<(), ClusterError> {
    let fresh = path.with_extension("new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(at("remove", &fresh)(error)),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .map_err(at("write", &fresh))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(at("write", &fresh))?;
    prepare(&fresh)?;
    std::fs::rename(&fresh, path).map_err(at("write", path))?;
    sync_folder_of(path)
}

/// Makes a rename or a creation at `path` durable.
pub(super) fn sync_folder_of(path: &Path) -> Result<(), ClusterError> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    File::open(parent)
        .and_then(|folder| folder.sync_all())
        .map_err(at("write", parent))
}

#[cfg(test)]
mod tests {
    use super::{DataFolder, FORMAT, replace};
    use crate::postgres::ClusterError;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn the_folder_is_private_and_survives_reopening() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let path = temporary.path().join("a/b");
        drop(DataFolder::open(&path).expect("a fresh folder"));
        let mode = path.metadata().expect("it exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop(DataFolder::open(&path).expect("the same folder again"));
    }

    #[test]
    fn a_second_user_is_told_who_holds_it() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let _held = DataFolder::open(temporary.path()).expect("a fresh folder");
        let error = DataFolder::open(temporary.path()).expect_err("it is held");
        assert!(matches!(&error, ClusterError::InUse { pid, .. } if *pid == std::process::id().to_string()));
        assert!(error.to_string().contains("stop that one first"), "{error}");
    }

    #[test]
    fn a_newer_format_and_a_foreign_folder_are_refused() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let version = temporary.path().join("VERSION");
        std::fs::write(&version, format!("{}\n", FORMAT + 1)).expect("written");
        assert!(matches!(
            DataFolder::open(temporary.path()),
            Err(ClusterError::NewerFormat { .. })
        ));
        std::fs::write(&version, "release 3").expect("written");
        assert!(matches!(
            DataFolder::open(temporary.path()),
            Err(ClusterError::NotOurs { .. })
        ));
    }

    #[test]
    fn replacing_never_writes_through_a_link() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let victim = temporary.path().join("victim");
        std::fs::write(&victim, "precious").expect("written");
        let path = temporary.path().join("file.conf");
        symlink(&victim, &path).expect("linked");
        symlink(&victim, temporary.path().join("file.new")).expect("linked");
        replace(&path, "ours", |_| Ok(())).expect("replaced");
        assert_eq!(std::fs::read_to_string(&victim).expect("readable"), "precious");
        assert_eq!(std::fs::read_to_string(&path).expect("readable"), "ours");
    }
}
