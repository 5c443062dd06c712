//! Checkpoints in the object store, from which another machine goes on.
//!
//! One rule: what is no longer needed is released by an event, and only then deleted; of a job that a worker may take
//! again the newest checkpoint is never released.

use serde::{Deserialize, Serialize};

use crate::{id::JobId, models::model::ModelFile, payload::Leaves};

/// A checkpoint whose files are in the object store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Leaves)]
pub struct StoredCheckpoint {
    /// After this many steps.
    pub step: u32,
    /// Hash over its files, as that of the checkpoint on the disk: SHA-256 of its list of files.
    #[plain]
    pub sha256: String,
    /// Its place in the object store, see [`place`].
    #[plain]
    pub artifact: String,
    /// Its files, the list of files among them.
    pub files: Vec<ModelFile>,
}

impl StoredCheckpoint {
    /// Bytes of all its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files
            .iter()
            .fold(0, |sum, file| sum.saturating_add(file.bytes))
    }
}

/// Where the object store has a checkpoint: below a name of its attempt, so that a worker that has lost its lease writes
/// to no place that another attempt reads or deletes; in it under its hash, so that a place never has other bytes.
#[must_use]
pub fn place(job: JobId, attempt: u32, sha256: &str) -> String {
    format!("checkpoints/{job}/{attempt}/{sha256}")
}

/// Of `stored`, oldest first, those that are in the way of keeping `keep`. At least one is kept.
#[must_use]
pub fn superseded(stored: &[StoredCheckpoint], keep: u32) -> &[StoredCheckpoint] {
    let keep = usize::try_from(keep.max(1)).unwrap_or(usize::MAX);
    &stored[..stored.len().saturating_sub(keep)]
}
