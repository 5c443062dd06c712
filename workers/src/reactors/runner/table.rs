//! The tables of the runner: how far each reactor has read, and what is to be tried again.
//!
//! One rule: whatever is written is written in one transaction that proves the lease, with the checkpoint where it moves.

use std::{future::Future, time::Duration};

use domain::event_store::{EventStore, Position, RecordedEvent, StreamId};
use sqlx::{PgPool, Row as _};
use tokio::time::timeout;
use uuid::Uuid;

use super::{RunError, ownership::Ownership};
use crate::reactors::{AnyReactor, Since};

/// Deadline of one transaction.
const DEADLINE: Duration = Duration::from_secs(10);

async fn within<T>(work: impl Future<Output = Result<T, RunError>>) -> Result<T, RunError> {
    timeout(DEADLINE, work).await.map_err(|_| RunError::TimedOut)?
}

fn stored(position: Position) -> i64 {
    i64::try_from(position.0).unwrap_or(i64::MAX)
}

fn unsigned(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or_default()
}

/// Gives each of `reactors` that has none its checkpoint: before anything is served, so that no event gets between.
///
/// One that stands beyond the end of the log stands on a log that is no more: it goes on from where the log ends.
pub(super) async fn prepare(
    pool: &PgPool,
    store: &dyn EventStore,
    reactors: &[std::sync::Arc<dyn AnyReactor>],
) -> Result<(), RunError> {
    let head = stored(store.head().await?);
    let names: Vec<&str> = reactors.iter().map(|reactor| reactor.name()).collect();
    let first = |reactor: &std::sync::Arc<dyn AnyReactor>| match reactor.since() {
        Since::FirstStart => head,
        Since::Beginning => 0,
    };
    let first: Vec<i64> = reactors.iter().map(first).collect();
    within(async {
        let beyond = sqlx::query_scalar::<_, String>(
            "update reactor_checkpoint set position = $1 where position > $1 returning reactor",
        );
        for reactor in beyond.bind(head).fetch_all(pool).await? {
            tracing::warn!(
                reactor,
                head,
                "it stood beyond the end of the log, which was restored; it goes on from there"
            );
        }
        sqlx::query(
            "insert into reactor_checkpoint (reactor, position)
             select unnest($1::text[]), unnest($2::bigint[])
             on conflict (reactor) do update set seen_at = clock_timestamp()",
        )
        .bind(&names)
        .bind(&first)
        .execute(pool)
        .await?;
        Ok(())
    })
    .await
}

/// How far `reactor` has read.
pub(super) async fn checkpoint(pool: &PgPool, reactor: &str) -> Result<Position, RunError> {
    within(async {
        let found = sqlx::query_scalar("select position from reactor_checkpoint where reactor = $1");
        let position: i64 = found.bind(reactor).fetch_one(pool).await?;
        Ok(Position(unsigned(position)))
    })
    .await
}

/// Says that the owner is there.
pub(super) async fn seen(pool: &PgPool) -> Result<(), RunError> {
    within(async {
        sqlx::query("update reactor_checkpoint set seen_at = clock_timestamp()")
            .execute(pool)
            .await?;
        Ok(())
    })
    .await
}

/// An effect that is to be tried again.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub(super) effect: Uuid,
    pub(super) position: Position,
    pub(super) stream: StreamId,
    pub(super) revision: u64,
    pub(super) kind: String,
    pub(super) recipient: Option<String>,
    /// How often it failed.
    pub(super) attempts: u32,
}

/// What became of a try that did not succeed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setback {
    /// How often it has failed now.
    pub(super) attempts: u32,
    /// Why.
    pub(super) reason: &'static str,
    /// When it is tried again; `None`: it is given up.
    pub(super) wait: Option<Duration>,
}

impl Delivery {
    /// That of an effect of `event`.
    pub(super) fn of(event: &RecordedEvent, effect: Uuid, kind: &str, recipient: Option<String>) -> Self {
        Self {
            effect,
            position: event.position,
            stream: event.stream.clone(),
            revision: event.revision,
            kind: kind.to_owned(),
            recipient,
            attempts: 0,
        }
    }
}

/// What a stretch of the log comes to.
#[derive(Default)]
pub(super) struct Outcome {
    /// Effects that are not done, each with why.
    pub(super) open: Vec<(Delivery, Setback)>,
    /// Deliveries that somebody wants tried again; `None` stands for all.
    pub(super) redriven: Vec<Option<Uuid>>,
}

/// Writes what the events of `reactor` in `from..=to` came to, and that they are done with.
pub(super) async fn finish(
    pool: &PgPool,
    ownership: &Ownership,
    reactor: &str,
    (from, to): (Position, Position),
    outcome: &Outcome,
) -> Result<(), RunError> {
    within(async {
        let mut transaction = pool.begin().await?;
        ownership.prove(&mut transaction).await?;
        for (delivery, setback) in &outcome.open {
            insert(&mut transaction, reactor, delivery, setback).await?;
        }
        for effect in &outcome.redriven {
            sqlx::query(
                "update reactor_delivery set dead_at = null, attempts = 0, next_at = clock_timestamp()
                 where reactor = $1 and dead_at is not null and ($2::uuid is null or effect = $2)",
            )
            .bind(reactor)
            .bind(effect)
            .execute(&mut *transaction)
            .await?;
        }
        let moved = sqlx::query(
            "update reactor_checkpoint set position = $3, seen_at = clock_timestamp()
             where reactor = $1 and position = $2",
        )
        .bind(reactor)
        .bind(stored(from))
        .bind(stored(to))
        .execute(&mut *transaction)
        .await?;
        if moved.rows_affected() != 1 {
            transaction.rollback().await?;
            return Err(RunError::Deposed);
        }
        Ok(transaction.commit().await?)
    })
    .await
}

async fn insert(
    connection: &mut sqlx::PgConnection,
    reactor: &str,
    delivery: &Delivery,
    setback: &Setback,
) -> Result<(), RunError> {
    sqlx::query(
        "insert into reactor_delivery
             (reactor, effect, position, stream, revision, kind, recipient, attempts, failure, next_at, dead_at)
         select $1, $2, $3, $4, $5, $6, $7, $8, $9,
                clock_timestamp() + make_interval(secs => coalesce($10::float8, 0)),
                case when $10::float8 is null then clock_timestamp() end
         on conflict (reactor, effect) do nothing",
    )
    .bind(reactor)
    .bind(delivery.effect)
    .bind(stored(delivery.position))
    .bind(delivery.stream.as_str())
    .bind(i64::try_from(delivery.revision).unwrap_or(i64::MAX))
    .bind(&delivery.kind)
    .bind(&delivery.recipient)
    .bind(i32::try_from(setback.attempts).unwrap_or(i32::MAX))
    .bind(setback.reason)
    .bind(setback.wait.map(|wait| wait.as_secs_f64()))
    .execute(connection)
    .await?;
    Ok(())
}

/// The deliveries of `reactor` that are due, at most `limit`; if there are none, how long until one is.
pub(super) async fn due(
    pool: &PgPool,
    reactor: &str,
    limit: i64,
) -> Result<Result<Vec<Delivery>, Option<Duration>>, RunError> {
    within(async {
        let rows = sqlx::query(
            "select effect, position, stream, revision, kind, recipient, attempts,
                    extract(epoch from next_at - clock_timestamp())::float8 as wait
             from reactor_delivery where reactor = $1 and dead_at is null order by next_at limit $2",
        )
        .bind(reactor)
        .bind(limit)
        .fetch_all(pool)
        .await?;
        let mut due = Vec::new();
        for row in &rows {
            let wait: f64 = row.try_get("wait")?;
            if wait > 0.0 {
                let wait = Duration::try_from_secs_f64(wait).unwrap_or(DEADLINE);
                return Ok(if due.is_empty() { Err(Some(wait)) } else { Ok(due) });
            }
            due.push(Delivery {
                effect: row.try_get("effect")?,
                position: Position(unsigned(row.try_get("position")?)),
                stream: StreamId::from_recorded(row.try_get("stream")?),
                revision: unsigned(row.try_get("revision")?),
                kind: row.try_get("kind")?,
                recipient: row.try_get("recipient")?,
                attempts: u32::try_from(row.try_get::<i32, _>("attempts")?).unwrap_or_default(),
            });
        }
        Ok(if due.is_empty() { Err(None) } else { Ok(due) })
    })
    .await
}

/// What became of deliveries that were tried again.
#[derive(Default)]
pub(super) struct Settled {
    /// Done, or pointless by now.
    pub(super) done: Vec<Uuid>,
    /// Not done.
    pub(super) open: Vec<(Delivery, Setback)>,
}

/// Writes what became of deliveries of `reactor`.
pub(super) async fn settle(
    pool: &PgPool,
    ownership: &Ownership,
    reactor: &str,
    settled: &Settled,
) -> Result<(), RunError> {
    within(async {
        let mut transaction = pool.begin().await?;
        ownership.prove(&mut transaction).await?;
        sqlx::query("delete from reactor_delivery where reactor = $1 and effect = any($2)")
            .bind(reactor)
            .bind(&settled.done)
            .execute(&mut *transaction)
            .await?;
        for (delivery, setback) in &settled.open {
            let updated = sqlx::query(
                "update reactor_delivery set attempts = $3, failure = $4,
                        next_at = clock_timestamp() + make_interval(secs => coalesce($5::float8, 0)),
                        dead_at = case when $5::float8 is null then clock_timestamp() end
                 where reactor = $1 and effect = $2",
            )
            .bind(reactor)
            .bind(delivery.effect)
            .bind(i32::try_from(setback.attempts).unwrap_or(i32::MAX))
            .bind(setback.reason)
            .bind(setback.wait.map(|wait| wait.as_secs_f64()))
            .execute(&mut *transaction)
            .await?;
            if updated.rows_affected() == 0 {
                insert(&mut transaction, reactor, delivery, setback).await?;
            }
        }
        Ok(transaction.commit().await?)
    })
    .await
}
