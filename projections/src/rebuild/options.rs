//! Options, progress and results of a rebuild.

use domain::event_store::{Position, StoreError};
use serde::Serialize;

use super::comparison::Comparison;
use crate::read_model::{ProjectError, unquoted};

/// Why a rebuild failed. The shadow tables are kept and resumed.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The log cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database failed.
    #[error("database: {}", unquoted(.0))]
    Database(#[from] sqlx::Error),
    /// A row cannot be loaded.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// Another process rebuilds now.
    #[error("another process rebuilds the read models now; this one wrote nothing more")]
    Deposed,
    /// Part of the work ended.
    #[error("the rebuild was interrupted; start it again to go on")]
    Interrupted,
    /// The log ended before the position that it was said to have.
    #[error("the log ends at {0}, before the position that was to be reached")]
    Ended(Position),
    /// An event cannot be folded.
    #[error("{projection} cannot fold the event at position {position}: {reason}")]
    Event {
        /// The projection.
        projection: &'static str,
        /// The event.
        position: Position,
        /// The reason.
        reason: String,
    },
}

/// What is to be done with the shadows once they are built.
#[derive(Clone, Copy, Debug)]
pub struct RebuildOptions {
    /// Compare them with the live tables.
    pub compare: bool,
    /// Put them in place of the live tables; else they are kept, for a later rebuild to go on from.
    pub swap: bool,
    /// Drop what is not swapped in.
    pub discard: bool,
}

/// How much is in memory at a time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Events that are read at a time.
    pub page: usize,
    /// Bytes of rows that all shadows together keep, those among them that are not written yet.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            page: 4_000,
            memory: 64 << 20,
        }
    }
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Folding the log.
    Folding,
    /// Making indexes.
    Indexing,
    /// Comparing with the live tables.
    Comparing,
    /// Putting the shadow in place.
    Swapping,
}

/// How far a rebuild is.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What is being done.
    pub phase: Phase,
    /// The position that is reached.
    pub position: Position,
    /// The position that is to be reached.
    pub goal: Position,
}

/// Result for one projection.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Its name.
    pub name: &'static str,
    /// The position up to which it was folded.
    pub position: Position,
    /// Whether it took the live table's place.
    pub swapped: bool,
    /// How it compares to the live table; `None` when it was not compared, or there was nothing to compare to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// The reason for which it was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}
