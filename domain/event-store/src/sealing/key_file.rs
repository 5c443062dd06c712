//! The file that wraps the keys of persons: 32 random bytes in hexadecimal, private to this account.
//!
//! The rule: it is made once, whole, and only by [`create`], which its caller allows only while nothing is
//! wrapped by another one.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{error::KeysError, leaf::Key};

/// No key file is longer; what is longer is something else.
const MAX_FILE_BYTES: u64 = 4_096;

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> KeysError + '_ {
    move |source| KeysError::Io {
        path: path.to_owned(),
        source,
    }
}

/// 32 bytes from the operating system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], KeysError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| KeysError::NoRandomness)?;
    Ok(bytes)
}

/// Reads the file; `None` when there is none.
///
/// # Errors
/// When it is open to others, cannot be read or holds something else.
pub(super) fn read(path: &Path) -> Result<Option<Key>, KeysError> {
    let (text, about) = match small_files::read_about(path, MAX_FILE_BYTES) {
        Ok((bytes, about)) => (Zeroizing::new(bytes), about),
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mode = about.permissions().mode() & 0o7777;
    if mode & 0o027 != 0 {
        let path = path.to_owned();
        return Err(KeysError::OpenToOthers { path, mode });
    }
    let mut key = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim_ascii(), &mut *key).map_err(|_| KeysError::Unreadable(path.to_owned()))?;
    Ok(Some(Key(key)))
}

/// Looks at the file without its database: whether there is one that can be used. Makes nothing.
///
/// # Errors
/// When it is open to others, cannot be read or holds something else.
pub fn examine(path: &Path) -> Result<bool, KeysError> {
    Ok(read(path)?.is_some())
}

/// Makes the file with mode 0600. Of two processes at once, one makes it, and both end up with the same.
///
/// # Errors
/// When it cannot be written.
pub(super) fn create(path: &Path) -> Result<(), KeysError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(io(folder))?;
    let key = Zeroizing::new(random::<32>()?);
    let text = Zeroizing::new(format!("{}\n", hex::encode(*key)));
    let draft = path.with_extension(format!("draft-{}", hex::encode(random::<8>()?)));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
    // A link to a finished file cannot be half written, and fails where another process was faster.
    let linked = written.and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    let cleared = fs::remove_file(&draft);
    linked.map_err(io(path))?;
    cleared.map_err(io(&draft))?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(io(folder))
}

/// What names a wrapping key without giving it away: 16 hexadecimal digits of a hash of it.
pub(super) fn id(key: &Key) -> String {
    let hash = Sha256::new()
        .chain_update("anneal personal key id 1")
        .chain_update(*key.0)
        .finalize();
    hex::encode(&hash[..8])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::{create, examine, id, read};
    use crate::sealing::KeysError;

    #[test]
    fn the_file_is_private_made_once_and_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys").join("personal.key");
        assert!(read(&path).expect("no file is no error").is_none());
        create(&path).expect("made");
        let first = id(&read(&path).expect("readable").expect("a key"));
        create(&path).expect("there already");
        assert_eq!(id(&read(&path).expect("readable").expect("a key")), first);
        let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(
            std::fs::read_dir(folder.path().join("keys"))
                .expect("a folder")
                .count(),
            1
        );
    }

    #[test]
    fn a_file_that_is_open_to_others_or_something_else_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("personal.key");
        std::fs::write(&path, "not a key").expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("set");
        assert!(matches!(
            read(&path),
            Err(KeysError::OpenToOthers { mode: 0o644, .. })
        ));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("set");
        let error = read(&path).err().expect("not a key");
        assert!(matches!(error, KeysError::Unreadable(_)));
        assert!(!error.to_string().contains("not a key"));
    }

    /// A named pipe was waited for; a folder was advised `chmod 600`.
    #[test]
    fn what_is_no_file_is_named_for_what_it_is_and_never_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("personal.key");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        let said = examine(&path).expect_err("refused").to_string();
        assert!(said.contains("a named pipe") && !said.contains("chmod"), "{said}");
        std::fs::remove_file(&path).expect("removed");
        std::fs::create_dir(&path).expect("a folder");
        let said = examine(&path).expect_err("refused").to_string();
        assert!(said.contains("a folder") && !said.contains("chmod"), "{said}");
    }
}
