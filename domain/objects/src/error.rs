//! What can go wrong with the object store.
//!
//! One rule: what the caller or the operator can act on has a variant of its own, and nothing that a store answered is
//! repeated beyond its first words: it may hold what it was sent.

use std::{error::Error, io, path::PathBuf};

/// Characters of a store's own words at most.
const WORDS: usize = 200;

/// Why the object store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// The configured address cannot be used.
    #[error(
        "the object store's address {reason}; give a folder as file:///absolute/path, or a bucket as s3://bucket/prefix"
    )]
    Address {
        /// What about it.
        reason: String,
    },
    /// The options of an S3 store cannot be used.
    #[error("the object store cannot be reached as configured: {problems}")]
    Options {
        /// All that is wrong, with the names of the keys.
        problems: String,
    },
    /// No key.
    #[error("'{key}' is not the name of an object")]
    Key {
        /// What was given, shortened.
        key: String,
    },
    /// There is no such object.
    #[error("there is no object '{key}'")]
    NotFound {
        /// Its name.
        key: String,
    },
    /// The range asked for lies outside the object.
    #[error("the range begins at or after the end of the object, which has {size} bytes")]
    Range {
        /// The object's size.
        size: u64,
    },
    /// More bytes than an object can have.
    #[error("an object has at most {limit} bytes")]
    TooLarge {
        /// How many may be.
        limit: u64,
    },
    /// The disk, or the share of it that we may use, is full.
    #[error("the object store is full; free some space there and try again")]
    StorageFull,
    /// The store did not answer in time.
    #[error("the object store did not {operation} within {seconds} seconds; try again later")]
    Deadline {
        /// What was asked of it.
        operation: &'static str,
        /// How long it had.
        seconds: u64,
    },
    /// The store refuses our credentials, or what they may do.
    #[error(
        "the object store refused to {operation}; see that its access key is right and may read, write, list and delete"
    )]
    Denied {
        /// What was asked of it.
        operation: &'static str,
    },
    /// The store has, or sent, another number of bytes than it said or was given.
    #[error("the object store has {found} bytes of '{key}' where {expected} belong")]
    Length {
        /// Which object.
        key: String,
        /// How many there must be.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// An object whose bytes are not those that were recorded.
    #[error("'{key}' in the object store is not what was stored there: its SHA-256 is {found}")]
    Damaged {
        /// Which object.
        key: String,
        /// What its bytes have.
        found: String,
    },
    /// There is an object of that name already.
    #[error("there is an object '{key}' already")]
    AlreadyThere {
        /// Its name.
        key: String,
    },
    /// A local file that was to be read, or a folder that was to be swept.
    #[error("cannot use '{path}': {source}", path = .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Anything else.
    #[error("the object store could not {operation}: {what}")]
    Store {
        /// What was asked of it.
        operation: &'static str,
        /// Its first words.
        what: String,
    },
}

impl ObjectsError {
    /// Finds the case in an error of the store.
    pub(super) fn from_store(operation: &'static str, error: &object_store::Error) -> Self {
        use object_store::Error as Theirs;
        let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        match error {
            Theirs::NotFound { path, .. } if !error_text(error).contains("NoSuchBucket") => {
                Self::NotFound { key: last(path) }
            }
            Theirs::AlreadyExists { path, .. } | Theirs::Precondition { path, .. } => {
                Self::AlreadyThere { key: last(path) }
            }
            Theirs::PermissionDenied { source, .. } if source.downcast_ref::<io::Error>().is_none() => {
                Self::Denied { operation }
            }
            Theirs::Unauthenticated { .. } => Self::Denied { operation },
            error if is_full(error) || says_full(error) => Self::StorageFull,
            error => Self::Store {
                operation,
                what: first_words(error),
            },
        }
    }
}

/// Whether the disk (`ENOSPC`) or the quota on it (`EDQUOT`) is behind the error.
fn is_full(error: &(dyn Error + 'static)) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(
        kind,
        Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    ) || error.source().is_some_and(is_full)
}

/// Whether an S3 store says that it is full: by status 507 (RFC 4918), or by the codes that stores use.
fn says_full(error: &object_store::Error) -> bool {
    let text = error_text(error);
    [
        "507 Insufficient Storage",
        "<Code>XMinioStorageFull",
        "<Code>QuotaExceeded",
    ]
    .iter()
    .any(|code| text.contains(code))
}

fn error_text(error: &object_store::Error) -> String {
    error.to_string()
}

/// An error without the document that a store answered with, but with the code in it.
fn first_words(error: &object_store::Error) -> String {
    let text = error_text(error);
    let words = text
        .split('<')
        .next()
        .unwrap_or_default()
        .trim_end_matches([' ', ':']);
    let words: String = words
        .chars()
        .filter(|one| !one.is_control())
        .take(WORDS)
        .collect();
    let code = text
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split('<').next());
    let fits = |code: &&str| code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match code.filter(fits) {
        Some(code) => format!("{words} ({code})"),
        None => words,
    }
}
