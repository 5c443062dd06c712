//! Why the keys of persons cannot be had, and what to do about it.
//!
//! The rule: no message holds a key, or what stands in the place of one.

use std::{path::PathBuf, time::Duration};

/// Deadline of one statement about keys.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// Why the keys cannot be had at the start.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read, or is no file.
    #[error(transparent)]
    File(#[from] small_files::ReadError),
    /// The file or its folder cannot be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// Other accounts of the machine could read the key.
    #[error("{} is open to others (mode {mode:o}); run: chmod 600 {}", path.display(), path.display())]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file holds something else.
    #[error("{} does not hold the 64 hexadecimal digits of a key; restore it from the backup of the data folder", .0.display())]
    Unreadable(PathBuf),
    /// There are keys in the database, and the file that wraps them is gone.
    #[error(
        "{} is missing, and personal data in the log are sealed under it: restore this file from the backup of \
         the data folder; without it they cannot be read", path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The keys in the database were wrapped by another file.
    #[error(
        "{} is not the key file of this database: it is key {found}, and key {expected} is needed. Restore the \
         file of key {expected} from the backup of the data folder that belongs to this database", path.display()
    )]
    Another {
        /// The file.
        path: PathBuf,
        /// The key in it.
        found: String,
        /// The key that wraps what is in the database.
        expected: String,
    },
    /// The operating system gives no random bytes.
    #[error("the operating system's random number generator gave no bytes")]
    NoRandomness,
    /// The database failed.
    #[error("the keys of persons cannot be read: {0}")]
    Database(#[from] sqlx::Error),
    /// The database did not answer.
    #[error("the keys of persons cannot be read: the database did not answer within {} s", DEADLINE.as_secs())]
    TimedOut,
}

impl KeysError {
    /// Whether it is about the file, and not about the means to look.
    #[must_use]
    pub fn is_of_the_file(&self) -> bool {
        match self {
            Self::File(_)
            | Self::Io { .. }
            | Self::OpenToOthers { .. }
            | Self::Unreadable(_)
            | Self::Missing { .. }
            | Self::Another { .. } => true,
            Self::NoRandomness | Self::Database(_) | Self::TimedOut => false,
        }
    }
}
