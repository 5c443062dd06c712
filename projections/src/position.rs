//! Positions of the log as PostgreSQL keeps them: a `bigint`.
//!
//! One rule: both directions saturate, so a comparison never wraps around.

use domain::event_store::Position;

/// A position as the database keeps it.
pub(crate) fn stored(position: Position) -> i64 {
    i64::try_from(position.0).unwrap_or(i64::MAX)
}

/// A position that the database kept.
pub(crate) fn position(stored: i64) -> Position {
    Position(u64::try_from(stored).unwrap_or_default())
}
