//! What moment of the log a caller means by a time or a position.
//!
//! One rule: an answer about a moment never depends on how far the read models happen to be.

use std::time::Duration;

use domain::{
    clock::to_micros,
    event_store::{EventStore, Position, StoreError},
};
use sqlx::PgPool;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    audit::entry,
    read_model::ReadError,
    runner::{NotYet, Progress},
};

/// What a caller asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Asked {
    /// As things stood at that time: after the last event that was recorded at or before it.
    At(OffsetDateTime),
    /// As things stood after the event at that position.
    Position(Position),
}

/// A moment of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instant {
    /// The position of the last event that counts; [`Position::START`] before the first one.
    pub position: Position,
    /// When that event was recorded; `None` before the first one.
    pub at: Option<OffsetDateTime>,
}

/// Why there is no answer about that moment.
#[derive(Debug, thiserror::Error)]
pub enum AsOfError {
    /// That time has not come.
    #[error("asOf.at lies in the future: it is {now} now; ask about a time that has passed")]
    Future {
        /// The present time, RFC 3339.
        now: String,
    },
    /// The log does not reach so far.
    #[error("asOf.position {asked} is beyond the log's head {head}")]
    Beyond {
        /// What was asked for.
        asked: Position,
        /// The last position of the log.
        head: Position,
    },
    /// The read models are not there yet.
    #[error(transparent)]
    NotYet(#[from] NotYet),
    /// A read model is still being folded for the first time by a build that keeps its past.
    #[error("the past of {0} is still being gathered; try again later")]
    Gathering(String),
    /// The log does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The read models do not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl AsOfError {
    /// Whether the caller asked for something that there is not, and the same question would fail again.
    #[must_use]
    pub fn is_callers(&self) -> bool {
        matches!(self, Self::Future { .. } | Self::Beyond { .. })
    }
}

/// Finds the moment that is asked for, and waits until the read models have reached it.
///
/// Times never run backwards along the log, and are found by an index. A time after the last event means the
/// head of the log as of this call; who wants the same answer again asks for the position that is returned.
/// Before the first event the world is empty.
///
/// # Errors
/// See [`AsOfError`].
pub async fn resolve(
    pool: &PgPool,
    store: &dyn EventStore,
    progress: &Progress,
    now: OffsetDateTime,
    patience: Duration,
    asked: Asked,
) -> Result<Instant, AsOfError> {
    gathered(pool).await?;
    match asked {
        Asked::At(at) if at > now => Err(AsOfError::Future {
            now: now.format(&Rfc3339).unwrap_or_else(|_| now.to_string()),
        }),
        Asked::At(at) => at_time(pool, store, progress, patience, to_micros(at)).await,
        Asked::Position(position) => {
            if position > store.known_head() {
                let head = store.head().await?;
                if position > head {
                    return Err(AsOfError::Beyond {
                        asked: position,
                        head,
                    });
                }
            }
            progress.reach(position, patience).await?;
            let last = entry::last_up_to(pool, position).await?;
            Ok(Instant {
                position,
                at: last.map(|(_, at)| at),
            })
        }
    }
}

async fn at_time(
    pool: &PgPool,
    store: &dyn EventStore,
    progress: &Progress,
    patience: Duration,
    at: OffsetDateTime,
) -> Result<Instant, AsOfError> {
    // Entries come in the order of the log: one of a later time says that none of this time is missing.
    if !entry::any_after(pool, at).await? {
        progress.reach(store.head().await?, patience).await?;
    }
    let Some((position, at)) = entry::last_at(pool, at).await? else {
        return Ok(Instant {
            position: Position::START,
            at: None,
        });
    };
    progress.reach(position, patience).await?;
    Ok(Instant {
        position,
        at: Some(at),
    })
}

/// That every read model with a past has been folded by a build that keeps it.
async fn gathered(pool: &PgPool) -> Result<(), AsOfError> {
    let (names, since): (Vec<&str>, Vec<i32>) = crate::all()
        .iter()
        .filter_map(|projector| Some((projector.name(), projector.history()?.since)))
        .unzip();
    let query = sqlx::query(
        "select to_jsonb(h.name)::text from unnest($1::text[], $2::int[]) h(name, since) \
         join projection_checkpoint c on c.name = h.name and c.version < h.since limit 1",
    );
    match crate::read_model::fetch_one::<String>(pool, query.bind(names).bind(since)).await? {
        Some(name) => Err(AsOfError::Gathering(name)),
        None => Ok(()),
    }
}
