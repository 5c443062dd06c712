//! Names of objects.
//!
//! One rule: a key that exists leads to an object of this store and nowhere else.

use object_store::path::Path;

use super::ObjectsError;

/// The name of an object: segments parted by `/`, none of them empty, `.` or `..`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub(super) Path);

impl Key {
    /// The key of a dataset version: its content address.
    ///
    /// # Errors
    /// When `sha256` is not 64 lower-case hexadecimal digits.
    pub fn dataset(sha256: &str) -> Result<Self, ObjectsError> {
        if !is_sha256(sha256) {
            return Err(ObjectsError::Key {
                key: shortened(sha256),
            });
        }
        Self::parse(&format!("datasets/{sha256}"))
    }

    /// The key of an artefact, or the prefix of a folder of artefacts, such as `job_…/adapter`.
    ///
    /// # Errors
    /// When a segment is empty, `.` or `..`, or holds a character that no store takes.
    pub fn artifact(path: &str) -> Result<Self, ObjectsError> {
        Self::parse(&format!("artifacts/{path}"))
    }

    /// The key of a file of a checkpoint, or the prefix of one, below `checkpoints/`.
    ///
    /// # Errors
    /// As [`artifact`](Self::artifact).
    pub fn checkpoint(path: &str) -> Result<Self, ObjectsError> {
        Self::parse(&format!("checkpoints/{path}"))
    }

    /// A key as the log or a listing has it: `datasets/…`, `artifacts/…` or `checkpoints/…`.
    ///
    /// # Errors
    /// As [`dataset`](Self::dataset) and [`artifact`](Self::artifact); also for any other place.
    pub fn recorded(text: &str) -> Result<Self, ObjectsError> {
        match text.split_once('/') {
            Some(("datasets", sha256)) => Self::dataset(sha256),
            Some(("artifacts", path)) => Self::artifact(path),
            Some(("checkpoints", path)) => Self::checkpoint(path),
            _ => Err(ObjectsError::Key { key: shortened(text) }),
        }
    }

    /// The key of a file below this one.
    ///
    /// # Errors
    /// As [`artifact`](Self::artifact).
    pub fn join(&self, path: &str) -> Result<Self, ObjectsError> {
        Self::parse(&format!("{}/{path}", self.0))
    }

    pub(super) fn parse(text: &str) -> Result<Self, ObjectsError> {
        let refuse = || ObjectsError::Key { key: shortened(text) };
        // `Path` takes these two, but the local store cannot keep them apart from its own temporary files.
        if text.starts_with('/') || text.ends_with('/') || text.contains('#') {
            return Err(refuse());
        }
        Path::parse(text).map(Self).map_err(|_| refuse())
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether `text` is a SHA-256 as it is recorded: 64 lower-case hexadecimal digits.
pub(super) fn is_sha256(text: &str) -> bool {
    let digits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == 64 && text.bytes().all(digits)
}

fn shortened(text: &str) -> String {
    text.chars().take(128).collect()
}
