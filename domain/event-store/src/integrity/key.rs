//! The file of the key that signs checkpoints, apart from the database.
//!
//! The rule: where checkpoints of a log are recorded, no new key is ever made. A second history of the same
//! log under another key could not be told from the first.

use std::{
    fs::{self, Metadata},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use small_files::ReadError;
use zeroize::Zeroizing;

use super::{NoteError, Signer, Verifier};

/// No key file is longer, in bytes; what is longer is something else.
const MAX_FILE_BYTES: u64 = 4_096;

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
    /// It cannot be read, or is no file.
    #[error(transparent)]
    File(#[from] ReadError),
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
    if !is_there(&public)? {
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
    let signer = private(path)?.ok_or_else(missing)?;
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
    check_half(path, &signer)?;
    Ok(signer)
}

/// Looks at the key in `path` where nothing is known that it should fit: that it, and the public half beside it, can be
/// read and fit each other. Returns whether there is one; makes nothing.
///
/// # Errors
/// [`KeyFileError`].
pub fn examine(path: &Path) -> Result<bool, KeyFileError> {
    let Some(signer) = private(path)? else {
        return Ok(false);
    };
    check_half(path, &signer).map(|()| true)
}

/// The key in `path`; `None` when there is none.
fn private(path: &Path) -> Result<Option<Signer>, KeyFileError> {
    match read_private(path) {
        Ok(signer) => Ok(Some(signer)),
        Err(KeyFileError::File(error)) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// That the public half beside `path` is that of `signer`, where there is one.
fn check_half(path: &Path, signer: &Signer) -> Result<(), KeyFileError> {
    let public = public_file(path);
    if !is_there(&public)? {
        return Ok(());
    }
    match read_verifier(&public) {
        Ok(half) if half == *signer.verifier() => Ok(()),
        // A folder, a pipe or a file that may not be read is not asked what it holds.
        Err(error @ KeyFileError::File(_)) => Err(error),
        _ => Err(KeyFileError::NotTheHalf {
            path: public,
            private: path.to_owned(),
        }),
    }
}

/// Whether anything has that name, be it a link to nothing.
fn is_there(path: &Path) -> Result<bool, KeyFileError> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io(path)(error)),
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
    if is_there(&public)? {
        read_verifier(&public)
    } else if is_there(path)? {
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
    let (text, _) = read_text(path)?;
    let read = match text.starts_with("PRIVATE+KEY+") {
        true => Signer::read(&text).map(|signer| signer.verifier().clone()),
        false => Verifier::read(&text),
    };
    read.map_err(|why| KeyFileError::Unreadable {
        path: path.to_owned(),
        why,
    })
}

/// The text of a key file, and what the file is that was read. What is no text is no key.
fn read_text(path: &Path) -> Result<(Zeroizing<String>, Metadata), KeyFileError> {
    let (bytes, about) = small_files::read_about(path, MAX_FILE_BYTES)?;
    let bytes = Zeroizing::new(bytes);
    let text = std::str::from_utf8(&bytes).map_err(|_| KeyFileError::Unreadable {
        path: path.to_owned(),
        why: NoteError::Key("key"),
    })?;
    Ok((Zeroizing::new(text.to_owned()), about))
}

fn read_private(path: &Path) -> Result<Signer, KeyFileError> {
    let (text, about) = read_text(path)?;
    let mode = about.permissions().mode() & 0o7777;
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
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
