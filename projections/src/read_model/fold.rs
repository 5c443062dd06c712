//! One event applied to rows in memory.
//!
//! One rule: live tables and shadows fold by the same two functions, so they cannot differ.

use domain::event_store::RecordedEvent;

use super::{ProjectError, ReadModel, Rows, text::as_stored};

/// Folds one event. Returns the keys of the rows that it changed; [`Rows::get`] has them as the event left them.
pub(super) fn fold_one<M: ReadModel>(
    event: &RecordedEvent,
    rows: &mut Rows<M::Row>,
) -> Result<Vec<String>, ProjectError> {
    M::fold(event, rows)?;
    Ok(rows.settle())
}

/// The keys of the rows that `event` may change, as the table holds them.
pub(super) fn keys<M: ReadModel>(event: &RecordedEvent) -> Result<Vec<String>, ProjectError> {
    let keys = M::keys(event)?;
    Ok(keys.iter().map(|key| as_stored(key).into_owned()).collect())
}
