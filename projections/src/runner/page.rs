//! One page of the log, folded into all read models that stand in it, in one transaction.
//!
//! The rule: the transaction's last statement proves the lease and moves every checkpoint from where it was
//! thought to be; if either fails, nothing of the page is written.

use std::time::Duration;

use domain::event_store::{Page, Position, RecordedEvent, StoreError};
use sqlx::{Connection as _, PgConnection, Row as _};

use super::{
    RunError,
    projection_handle::{ProjectionHandle, State},
};
use crate::{lease::Lease, position::stored, read_model::ProjectError};

/// What became of a page.
pub(super) enum Folded {
    /// It is written, and these projections moved.
    Done(Vec<Place>),
    /// A checkpoint is not where it was thought to be; nothing is written.
    Overtaken,
}

/// Where one projection stands after a page.
pub(super) struct Place {
    index: usize,
    next: Position,
    failure: Option<Failure>,
}

/// The event that stopped a projection.
struct Failure {
    position: Position,
    reason: String,
}

impl Place {
    /// Puts the projection there.
    pub(super) fn take(self, handles: &mut [ProjectionHandle]) {
        let Some(handle) = handles.get_mut(self.index) else {
            return;
        };
        handle.checkpoint = self.next;
        let waited = match handle.state {
            State::Stopped { wait, .. } => Some(wait),
            _ => None,
        };
        match self.failure {
            None => handle.state = State::Going,
            Some(failure) => {
                handle.stop(waited);
                let (projection, position, error) =
                    (handle.projector.name(), failure.position.0, failure.reason);
                match handle.outdated {
                    // The rows are of an older version; the rebuild replaces them.
                    true => {
                        tracing::info!(projection, position, error, "projection waits for its rebuild");
                    }
                    false => tracing::error!(
                        projection,
                        position,
                        error,
                        "projection stopped: it cannot fold this event, and nothing after it"
                    ),
                }
            }
        }
    }
}

/// Folds `page`, which begins after `from`, into those of `handles` that stand in it.
pub(super) async fn fold(
    connection: &mut PgConnection,
    lease: Lease,
    handles: &[ProjectionHandle],
    from: Position,
    page: &Page,
) -> Result<Folded, RunError> {
    // The port promises it. A fold in another order would be wrong for good, so it is looked at all the same.
    if !page.events.is_sorted_by(|one, next| one.position < next.position) {
        let why = format!("a page after {from} came in disorder");
        return Err(RunError::Store(StoreError::Corrupt(why)));
    }
    let concerned: Vec<usize> = (0..handles.len())
        .filter(|index| {
            let handle = &handles[*index];
            let tried = handle.due();
            tried && handle.checkpoint >= from && handle.checkpoint < page.next
        })
        .collect();
    if concerned.is_empty() {
        return Ok(Folded::Done(Vec::new()));
    }
    // As a rule every event can be folded. Savepoints are for when one cannot.
    match attempt(&mut *connection, lease, handles, &concerned, page, false).await {
        Err(RunError::Project(error)) if error.blames_an_event() => {
            attempt(connection, lease, handles, &concerned, page, true).await
        }
        outcome => outcome,
    }
}

async fn attempt(
    connection: &mut PgConnection,
    lease: Lease,
    handles: &[ProjectionHandle],
    concerned: &[usize],
    page: &Page,
    careful: bool,
) -> Result<Folded, RunError> {
    let mut transaction = connection.begin().await?;
    fail::fail_point!("projection.before_rows", |_| Err(RunError::TimedOut));
    let mut places = Vec::with_capacity(concerned.len());
    for index in concerned {
        let handle = &handles[*index];
        let new_events: Vec<&RecordedEvent> = page
            .events
            .iter()
            .filter(|event| event.position > handle.checkpoint && handle.projector.wants(event))
            .collect();
        let mut place = Place {
            index: *index,
            next: page.next,
            failure: None,
        };
        if careful && !new_events.is_empty() {
            if let Some(failure) = fold_prefix(&mut transaction, handle, &new_events).await? {
                place.next = before(page, failure.position).max(handle.checkpoint);
                place.failure = Some(failure);
            }
        } else if !new_events.is_empty() {
            handle.projector.apply(&mut transaction, &new_events).await?;
        }
        places.push(place);
    }
    fail::fail_point!("projection.after_rows", |_| Err(RunError::TimedOut));
    if !move_checkpoints(&mut transaction, lease, handles, &places).await? {
        transaction.rollback().await?;
        return Ok(Folded::Overtaken);
    }
    fail::fail_point!("projection.before_commit", |_| Err(RunError::TimedOut));
    transaction.commit().await?;
    fail::fail_point!("projection.after_commit", |_| Err(RunError::TimedOut));
    Ok(Folded::Done(places))
}

/// The position of the event that comes before `position` in the page.
fn before(page: &Page, position: Position) -> Position {
    let earlier = page.events.iter().map(|event| event.position);
    earlier
        .take_while(|found| *found < position)
        .last()
        .unwrap_or_default()
}

/// Folds all of `new_events`, or as many as there are before the first that cannot be folded.
async fn fold_prefix(
    transaction: &mut PgConnection,
    handle: &ProjectionHandle,
    new_events: &[&RecordedEvent],
) -> Result<Option<Failure>, RunError> {
    // The longest prefix that is known to be good, the shortest that is known to be bad, and why.
    let (mut good, mut bad, mut tried) = (0, new_events.len() + 1, new_events.len());
    let mut reason = String::new();
    loop {
        let mut savepoint = transaction.begin().await?;
        match handle.projector.apply(&mut savepoint, &new_events[..tried]).await {
            Ok(()) if tried + 1 == bad => {
                savepoint.commit().await?;
                return Ok(new_events.get(tried).map(|event| Failure {
                    position: event.position,
                    reason,
                }));
            }
            Ok(()) => {
                savepoint.rollback().await?;
                good = tried;
            }
            Err(error) if error.blames_an_event() => {
                savepoint.rollback().await?;
                (bad, reason) = (tried, describe(&error));
            }
            Err(error) => return Err(error.into()),
        }
        tried = match bad - good {
            0 | 1 => good,
            _ => good.midpoint(bad),
        };
    }
}

/// The error, short enough for a column.
fn describe(error: &ProjectError) -> String {
    error.to_string().chars().take(500).collect()
}

/// Proves the lease and moves the checkpoints. `false`: one of them is not where it was thought to be.
async fn move_checkpoints(
    transaction: &mut PgConnection,
    lease: Lease,
    handles: &[ProjectionHandle],
    places: &[Place],
) -> Result<bool, RunError> {
    let each = || places.iter().map(|place| (place, &handles[place.index]));
    let names: Vec<&str> = each().map(|(_, handle)| handle.projector.name()).collect();
    let from: Vec<i64> = each().map(|(_, handle)| stored(handle.checkpoint)).collect();
    let generations: Vec<i64> = each().map(|(_, handle)| handle.generation).collect();
    let to: Vec<i64> = each().map(|(place, _)| stored(place.next)).collect();
    let failure = |place: &Place| place.failure.as_ref().map(|failure| stored(failure.position));
    let failed: Vec<Option<i64>> = each().map(|(place, _)| failure(place)).collect();
    let reasons: Vec<Option<&str>> = each()
        .map(|(place, _)| place.failure.as_ref().map(|failure| failure.reason.as_str()))
        .collect();
    let row = sqlx::query(
        "with held as (
             update projection_lease set expires_at = clock_timestamp() + make_interval(secs => $2)
             where name = 'fold' and epoch = $1 returning 1
         ), moved as (
             update projection_checkpoint c
             set position = m.next, failed_position = m.failed, failure = m.reason,
                 failing_since = case when m.failed is null then null
                                      else coalesce(c.failing_since, clock_timestamp()) end,
                 state = case when m.failed is null then 'live' else 'stopped' end
             from unnest($3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[])
                  as m(name, position, generation, next, failed, reason)
             where c.name = m.name and c.position = m.position and c.generation = m.generation
             returning 1
         )
         select (select count(*) from held), (select count(*) from moved)",
    )
    .bind(lease.epoch())
    .bind(Duration::as_secs_f64(&lease.length()))
    .bind(&names)
    .bind(&from)
    .bind(&generations)
    .bind(&to)
    .bind(&failed)
    .bind(&reasons)
    .fetch_one(transaction)
    .await?;
    match (row.try_get::<i64, _>(0)?, row.try_get::<i64, _>(1)?) {
        (0, _) => Err(RunError::Deposed),
        (_, moved) => Ok(usize::try_from(moved) == Ok(places.len())),
    }
}
