//! Positions of the log as PostgreSQL keeps them: a `bigint`.
//!
//! One rule: both directions saturate, so a comparison never wraps around.

use domain::event_store::{Position, RecordedEvent};

/// A position as the database keeps it.
pub(crate) fn stored(position: Position) -> i64 {
    i64::try_from(position.0).unwrap_or(i64::MAX)
}

/// A position that the database kept.
pub(crate) fn position(stored: i64) -> Position {
    Position(u64::try_from(stored).unwrap_or_default())
}

/// The version of a thing with one stream, once `event` is recorded: how many events the stream has.
pub(crate) fn version(event: &RecordedEvent) -> i32 {
    i32::try_from(event.revision.saturating_add(1)).unwrap_or(i32::MAX)
}
