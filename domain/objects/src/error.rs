//! What can go wrong with the object store.
//!
//! One rule: what the caller or the operator can act on has a variant of its own.

use std::{error::Error, io, path::PathBuf};

/// Why the object store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// The configured address cannot be used.
    #[error("the object store's address {reason}; give a folder as file:///absolute/path")]
    Address {
        /// What about it.
        reason: String,
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
    /// A local file that was to be read, or a folder that was to be swept.
    #[error("cannot use '{path}': {source}", path = .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Anything else.
    #[error("the object store could not {operation}: {source}")]
    Store {
        /// What was asked of it.
        operation: &'static str,
        /// What it said.
        source: object_store::Error,
    },
}

impl ObjectsError {
    /// Finds the case in an error of the store.
    pub(super) fn from_store(operation: &'static str, error: object_store::Error) -> Self {
        if let object_store::Error::NotFound { path, .. } = &error {
            return Self::NotFound {
                key: path.rsplit('/').next().unwrap_or_default().to_owned(),
            };
        }
        if is_full(&error) {
            Self::StorageFull
        } else {
            Self::Store {
                operation,
                source: error,
            }
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
