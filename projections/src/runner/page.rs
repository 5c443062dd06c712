//! One page of the log, folded into all read models that stand in it, in one transaction.
//!
//! The rule: the transaction's last statement proves the lease and moves every checkpoint from where it was
//! thought to be; if either fails, nothing of the page is written.

use std::collections::BTreeSet;

use domain::event_store::{Page, Position, RecordedEvent, StoreError};
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};

use super::{
    RunError,
    checkpoints::Checkpoints,
    place::{Failure, Place},
    projection_handle::ProjectionHandle,
};
use crate::{
    lease::Lease,
    read_model::{ProjectError, Write},
};

/// Estimated bytes of rows that each projection remembers from page to page.
const REMEMBERED: usize = 1 << 20;

/// What became of a page.
pub(super) enum Folded {
    /// It is written, and these projections moved.
    Done(Vec<Place>),
    /// A checkpoint is not where it was thought to be; nothing is written.
    Overtaken,
}

/// Folds `page`, which begins after `from`, into those of `handles` that stand in it. Unless it is done, the rows that they
/// remember may be ahead of their tables, and have to be forgotten.
pub(super) async fn fold(
    connection: &mut PgConnection,
    lease: Lease,
    handles: &mut [ProjectionHandle],
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
    match at_once(&mut *connection, lease, handles, &concerned, page).await {
        Err(RunError::Project(error)) if error.blames_an_event() => {
            handles.iter_mut().for_each(ProjectionHandle::forget);
            carefully(connection, lease, handles, &concerned, page).await
        }
        outcome => outcome,
    }
}

/// The events of `page` that `handle` has not folded.
fn new_events<'p>(handle: &ProjectionHandle, page: &'p Page) -> Vec<&'p RecordedEvent> {
    let (done, projector) = (handle.checkpoint, &handle.projector);
    let new = |event: &&RecordedEvent| event.position > done && projector.wants(event);
    page.events.iter().filter(new).collect()
}

/// Folds the page in memory, where most rows are still known, and writes what comes of it.
async fn at_once(
    connection: &mut PgConnection,
    lease: Lease,
    handles: &mut [ProjectionHandle],
    concerned: &[usize],
    page: &Page,
) -> Result<Folded, RunError> {
    let mut transaction = connection.begin().await?;
    fail::fail_point!("projection.before_rows", |_| Err(RunError::TimedOut));
    let mut writes = Vec::new();
    for index in concerned {
        let handle = &mut handles[*index];
        let new_events = new_events(handle, page);
        let mut missing = BTreeSet::new();
        for event in &new_events {
            missing.extend(handle.folding.missing(event)?);
        }
        handle.folding.load(&mut transaction, missing).await?;
        for event in new_events {
            handle.folding.fold(event)?;
        }
        let keep = !handle.folding.crowded(REMEMBERED);
        writes.extend(handle.folding.take(true, keep)?);
    }
    let next = page.next;
    let places = concerned.iter().map(|index| Place {
        index: *index,
        next,
        failure: None,
    });
    let places = places.collect();
    finish(transaction, lease, handles, places, writes).await
}

/// Folds the page into one projection after the other, each up to the event that it cannot fold.
async fn carefully(
    connection: &mut PgConnection,
    lease: Lease,
    handles: &[ProjectionHandle],
    concerned: &[usize],
    page: &Page,
) -> Result<Folded, RunError> {
    let mut transaction = connection.begin().await?;
    let mut places = Vec::with_capacity(concerned.len());
    for index in concerned {
        let handle = &handles[*index];
        let mut place = Place {
            index: *index,
            next: page.next,
            failure: None,
        };
        if let Some(failure) = fold_prefix(&mut transaction, handle, &new_events(handle, page)).await? {
            place.next = before(page, failure.position).max(handle.checkpoint);
            place.failure = Some(failure);
        }
        places.push(place);
    }
    finish(transaction, lease, handles, places, Vec::new()).await
}

/// Writes rows and checkpoints, and commits.
async fn finish(
    mut transaction: Transaction<'_, Postgres>,
    lease: Lease,
    handles: &[ProjectionHandle],
    places: Vec<Place>,
    writes: Vec<Write>,
) -> Result<Folded, RunError> {
    let checkpoints = Checkpoints::of(lease, handles, &places);
    fail::fail_point!("projection.after_rows", |_| Err(RunError::TimedOut));
    if !checkpoints.write(&mut transaction, writes).await? {
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
    if new_events.is_empty() {
        return Ok(None);
    }
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
