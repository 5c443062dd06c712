//! Resolves a time or position to a log position that the read models have reached.
//!
//! One rule: a response as of a position never depends on how far the read models are.

use std::time::Duration;

use domain::{
    clock::to_micros,
    event_store::{EventStore, Position, StoreError},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    audit::{entry::Entries, search},
    read_model::{ReadError, ReadModel as _, Row, Source, fetch_one},
    runner::{PositionNotReached, Progress},
};

/// How old a time may be and still mean the present while the log's time is ahead: a request is on its way for a while.
const PRESENT: time::Duration = time::Duration::seconds(10);

/// The `asOf` argument of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AsOfRequest {
    /// State at that time: after the last event recorded at or before it.
    At(OffsetDateTime),
    /// State after the event at that position.
    Position(Position),
}

/// A resolved log position with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogInstant {
    /// The position of the last event that counts; [`Position::START`] before the first one.
    pub position: Position,
    /// When that event was recorded; `None` before the first one.
    pub at: Option<OffsetDateTime>,
}

/// Why an `asOf` cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum AsOfError {
    /// That time is in the future.
    #[error("asOf.at lies in the future: it is {now} now; ask about a time that has passed")]
    Future {
        /// The present time, RFC 3339.
        now: String,
    },
    /// The position is beyond the head of the log.
    #[error("asOf.position {asked} is beyond the log's head {head}")]
    Beyond {
        /// The action that was asked for.
        asked: Position,
        /// The last position of the log.
        head: Position,
    },
    /// The read models have not reached the position in time.
    #[error(transparent)]
    PositionNotReached(#[from] PositionNotReached),
    /// A read model is still being folded for the first time by a build that keeps its history.
    #[error("the history of {0} is still being built; try again later")]
    HistoryIncomplete(String),
    /// The log does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The read models do not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl AsOfError {
    /// Whether the caller's input is invalid, so that a retry would fail again.
    #[must_use]
    pub fn is_caller_error(&self) -> bool {
        matches!(self, Self::Future { .. } | Self::Beyond { .. })
    }
}

/// Resolves `request` and waits until the read models have reached it.
///
/// Times never decrease along the log and are found by an index. A time after the last event means the head of the
/// log at this call; to get the same response again, use the returned position. Before the first event everything is
/// empty.
///
/// After a clock that was ahead, events have a time in the future until the clock has come there. They are recorded all
/// the same, so the present is the head of the log; an earlier time is answered by the times that events have.
///
/// # Errors
/// See [`AsOfError`].
pub async fn resolve(
    source: &impl Source,
    store: &dyn EventStore,
    progress: &Progress,
    now: OffsetDateTime,
    timeout: Duration,
    request: AsOfRequest,
) -> Result<LogInstant, AsOfError> {
    check_history_complete(source).await?;
    match request {
        AsOfRequest::At(at) if at > now => Err(AsOfError::Future {
            now: now.format(&Rfc3339).unwrap_or_else(|_| now.to_string()),
        }),
        AsOfRequest::At(at) if now - at <= PRESENT && search::any_after(source, now).await? => {
            let head = store.head().await?;
            at_position(source, progress, timeout, head).await
        }
        AsOfRequest::At(at) => at_time(source, store, progress, timeout, to_micros(at)).await,
        AsOfRequest::Position(position) => {
            if position > store.known_head() {
                let head = store.head().await?;
                if position > head {
                    return Err(AsOfError::Beyond {
                        asked: position,
                        head,
                    });
                }
            }
            at_position(source, progress, timeout, position).await
        }
    }
}

async fn at_position(
    source: &impl Source,
    progress: &Progress,
    timeout: Duration,
    position: Position,
) -> Result<LogInstant, AsOfError> {
    progress.wait_for_position(position, timeout).await?;
    let last = search::last_up_to(source, position).await?;
    Ok(LogInstant {
        position,
        at: last.map(|(_, at)| at),
    })
}

async fn at_time(
    source: &impl Source,
    store: &dyn EventStore,
    progress: &Progress,
    timeout: Duration,
    at: OffsetDateTime,
) -> Result<LogInstant, AsOfError> {
    // Entries come in the order of the log: one of a later time says that none of this time is missing.
    if !search::any_after(source, at).await? {
        progress.wait_for_position(store.head().await?, timeout).await?;
    }
    let Some((position, at)) = search::last_at(source, at).await? else {
        return Ok(LogInstant {
            position: Position::START,
            at: None,
        });
    };
    progress.wait_for_position(position, timeout).await?;
    Ok(LogInstant {
        position,
        at: Some(at),
    })
}

/// The name of a read model.
#[derive(Row)]
struct Name {
    name: String,
}

/// Checks that every read model with a history has been folded by a build that keeps it.
async fn check_history_complete(source: &impl Source) -> Result<(), AsOfError> {
    let pool = source.serving(&[Entries::NAME]).map_err(ReadError::from)?;
    let (names, since): (Vec<&str>, Vec<i32>) = crate::all()
        .iter()
        .filter_map(|projector| Some((projector.name(), projector.history()?.since)))
        .unzip();
    let query = sqlx::query(
        "select h.name from unnest($1::text[], $2::int[]) h(name, since) \
         join projection_checkpoint c on c.name = h.name and c.version < h.since limit 1",
    );
    match fetch_one::<Name>(pool, query.bind(names).bind(since)).await? {
        Some(Name { name }) => Err(AsOfError::HistoryIncomplete(name)),
        None => Ok(()),
    }
}
