//! The file of the key that signs checkpoints, apart from the database.
//!
//! The rule: where checkpoints of a log are recorded, no new key is ever made. A second history of the same
//! log under another key could not be told from the first.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{NoteError, Signer, Verifier};

/// Why the key cannot be used; says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Checkpoints are recorded, and their key is not there.
    #[error(
        "the key that signs the log's checkpoints is missing: {path}, while checkpoints signed with it are \
         recorded ({origin}). Put the file back from the backup of your keys, or name it with audit.key_file. \
         Anneal does not start with a new key, since that would begin a second history of the same log"
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// Of which log.
        origin: String,
    },
    /// It is the key of another log.
    #[error(
        "{path} holds the key of {found}, but this log is {expected}. Put the key of this log there, or name it \
         with audit.key_file; audit.origin must stay as it was at the first start"
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// The name in it.
        found: String,
        /// The log's origin.
        expected: String,
    },
    /// It did not sign what is recorded.
    #[error(
        "{path} holds a key that did not sign the recorded checkpoints of {origin}. Put the key that did back \
         from the backup of your keys, or name it with audit.key_file"
    )]
    NotTheSigner {
        /// The file.
        path: PathBuf,
        /// The log.
        origin: String,
    },
    /// The public half beside it is another one, or none.
    #[error(
        "{path} is not the public half of {private}. Remove it: it holds no secret, and the next start writes it anew \
         from the private key"
    )]
    NotTheHalf {
        /// The public file.
        path: PathBuf,
        /// The private one.
        private: PathBuf,
    },
    /// Others may read it.
    #[error("{path} is open to others (mode {mode:04o}); run: chmod 600 {path}")]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// What it holds is not a key.
    #[error("{path} does not hold a key: {why}; put it back from a backup")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: NoteError,
    },
    /// Who does not sign needs the public half.
    #[error(
        "the public key of the log's checkpoints is missing: {path}. Copy it from the process that signs, or let \
         this one sign with audit.sign = true"
    )]
    NoPublic {
        /// Where it should be.
        path: PathBuf,
    },
    /// The file system.
    #[error("{path} cannot be used: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> KeyFileError {
    let path = path.to_owned();
    move |source| KeyFileError::Io { path, source }
}

/// Opens the key of the log `origin` in `path`. If there is none and `recorded`, a checkpoint signed by it,
/// is not there either, one is made (mode 0600), with the public half in [`public_file`] beside it.
///
/// # Errors
/// [`KeyFileError`].
pub fn open_or_create(path: &Path, origin: &str, recorded: Option<&str>) -> Result<Signer, KeyFileError> {
    let opened = match open_existing(path, origin, recorded) {
        Err(KeyFileError::Missing { .. }) if recorded.is_none() => return create(path, origin),
        opened => opened?,
    };
    let public = public_file(path);
    if !public.try_exists().map_err(io(&public))? {
        write_public(&public, &opened)?;
        tracing::info!(path = %public.display(), "the public half of the log's key was written anew");
    }
    Ok(opened)
}

/// As [`open_or_create`], and makes nothing: [`KeyFileError::Missing`] when there is none. A missing public half
/// is no error, since it can be written from the private one.
///
/// # Errors
/// [`KeyFileError`].
pub fn open_existing(path: &Path, origin: &str, recorded: Option<&str>) -> Result<Signer, KeyFileError> {
    let missing = || KeyFileError::Missing {
        path: path.to_owned(),
        origin: origin.to_owned(),
    };
    let signer = match read_private(path) {
        Ok(signer) => signer,
        Err(KeyFileError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Err(missing()),
        Err(error) => return Err(error),
    };
    let found = &signer.verifier().key().name;
    if found != origin {
        return Err(KeyFileError::Other {
            path: path.to_owned(),
            found: found.clone(),
            expected: origin.to_owned(),
        });
    }
    if let Some(Err(_)) = recorded.map(|note| signer.verifier().open(note)) {
        return Err(KeyFileError::NotTheSigner {
            path: path.to_owned(),
            origin: origin.to_owned(),
        });
    }
    let public = public_file(path);
    match public.try_exists().map_err(io(&public))? {
        true if read_verifier(&public).ok().as_ref() != Some(signer.verifier()) => {
            Err(KeyFileError::NotTheHalf {
                path: public,
                private: path.to_owned(),
            })
        }
        _ => Ok(signer),
    }
}

fn write_public(path: &Path, signer: &Signer) -> Result<(), KeyFileError> {
    let staged = path.with_extension(format!("vkey-{}", std::process::id()));
    write_private(&staged, &signer.verifier().to_string())
        .and_then(|()| fs::rename(&staged, path))
        .map_err(io(path))
}

/// The file of the public half of the key in `path`: `log.vkey` beside `log.key`.
#[must_use]
pub fn public_file(path: &Path) -> PathBuf {
    path.with_extension("vkey")
}

/// The public key that belongs to the private one in `path`: from the file beside it, or from its own.
///
/// # Errors
/// [`KeyFileError`]; [`KeyFileError::NoPublic`] when neither file is there.
pub fn public_half(path: &Path) -> Result<Verifier, KeyFileError> {
    let public = public_file(path);
    if public.exists() {
        read_verifier(&public)
    } else if path.exists() {
        read_verifier(path)
    } else {
        Err(KeyFileError::NoPublic { path: public })
    }
}

/// Reads the public key in `path`, which may also hold the private one.
///
/// # Errors
/// [`KeyFileError`].
pub fn read_verifier(path: &Path) -> Result<Verifier, KeyFileError> {
    let text = Zeroizing::new(fs::read_to_string(path).map_err(io(path))?);
    let read = match text.starts_with("PRIVATE+KEY+") {
        true => Signer::read(&text).map(|signer| signer.verifier().clone()),
        false => Verifier::read(&text),
    };
    read.map_err(|why| KeyFileError::Unreadable {
        path: path.to_owned(),
        why,
    })
}

fn read_private(path: &Path) -> Result<Signer, KeyFileError> {
    let text = Zeroizing::new(fs::read_to_string(path).map_err(io(path))?);
    let mode = fs::metadata(path).map_err(io(path))?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::OpenToOthers {
            path: path.to_owned(),
            mode,
        });
    }
    Signer::read(&text).map_err(|why| KeyFileError::Unreadable {
        path: path.to_owned(),
        why,
    })
}

/// Makes a key. Where another process was faster, its key is taken.
fn create(path: &Path, origin: &str) -> Result<Signer, KeyFileError> {
    let unreadable = |why| KeyFileError::Unreadable {
        path: path.to_owned(),
        why,
    };
    let signer = Signer::generate(origin).map_err(unreadable)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    if !folder.exists() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(io(folder))?;
    }
    // Whole before it has its name: a hard link fails where the name is taken.
    let staged = path.with_extension(format!("new-{}", std::process::id()));
    let linked = write_private(&staged, &signer.write()).and_then(|()| fs::hard_link(&staged, path));
    drop(fs::remove_file(&staged));
    match linked {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return open_or_create(path, origin, None),
        Err(error) => return Err(io(path)(error)),
    }
    write_public(&public_file(path), &signer)?;
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(io(folder))?;
    Ok(signer)
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::{KeyFileError, open_existing, open_or_create, public_file, read_verifier};
    use crate::integrity::sign;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    const ORIGIN: &str = "log.example/a";

    #[test]
    fn a_key_is_made_once_private_and_found_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys/log.key");
        let first = open_or_create(&path, ORIGIN, None).expect("made");
        let mode = fs::metadata(&path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let note = sign("text\n", &first).expect("signed");
        let again = open_or_create(&path, ORIGIN, Some(&note)).expect("found");
        assert_eq!(again.verifier(), first.verifier());
        for path in [&path, &public_file(&path)] {
            assert_eq!(&read_verifier(path).expect("readable"), first.verifier());
        }
        assert_eq!(
            fs::read_dir(folder.path().join("keys")).expect("there").count(),
            2
        );
    }

    #[test]
    fn no_second_history_is_begun() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log.key");
        let first = open_or_create(&path, ORIGIN, None).expect("made");
        let note = sign("text\n", &first).expect("signed");
        fs::remove_file(&path).expect("removed");
        let error = open_or_create(&path, ORIGIN, Some(&note)).expect_err("missing");
        assert!(matches!(error, KeyFileError::Missing { .. }), "{error}");
        assert!(!path.exists());
        open_or_create(&path, ORIGIN, None).expect("another key");
        let error = open_or_create(&path, ORIGIN, Some(&note)).expect_err("not the signer");
        assert!(matches!(error, KeyFileError::NotTheSigner { .. }), "{error}");
        let error = open_or_create(&path, "log.example/b", None).expect_err("another log");
        assert!(matches!(error, KeyFileError::Other { .. }), "{error}");
    }

    /// FR6: the public half is written from the private one, and never believed against it.
    #[test]
    fn a_public_half_that_does_not_fit_is_refused_and_a_missing_one_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log.key");
        let first = open_or_create(&path, ORIGIN, None).expect("made");
        let public = public_file(&path);
        let kept = fs::read(&public).expect("there");
        let other = folder.path().join("other.key");
        open_or_create(&other, ORIGIN, None).expect("made");
        for text in [
            fs::read(public_file(&other)).expect("there"),
            Vec::new(),
            kept[..20].to_vec(),
        ] {
            fs::write(&public, text).expect("written");
            let error = open_or_create(&path, ORIGIN, None).expect_err("it does not fit");
            assert!(matches!(error, KeyFileError::NotTheHalf { .. }), "{error}");
            assert!(error.to_string().contains("Remove it"), "{error}");
        }
        fs::remove_file(&public).expect("removed");
        open_existing(&path, ORIGIN, None).expect("it is not needed");
        assert!(!public.exists(), "looking writes nothing");
        open_or_create(&path, ORIGIN, None).expect("opened");
        assert_eq!(fs::read(&public).expect("there"), kept);
        assert_eq!(&read_verifier(&public).expect("readable"), first.verifier());
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_none_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log.key");
        open_or_create(&path, ORIGIN, None).expect("made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
        let error = open_or_create(&path, ORIGIN, None).expect_err("open");
        assert!(matches!(error, KeyFileError::OpenToOthers { .. }), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("set");
        fs::write(&path, "s3cret rubbish").expect("written");
        let error = open_or_create(&path, ORIGIN, None).expect_err("rubbish");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    }
}
