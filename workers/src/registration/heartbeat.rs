//! Heartbeats of workers, with or without a job: the table `jobs_worker_beat` (WK-2).
//!
//! One rule: it is for monitoring only. Jobs are assigned by [`crate::lease::queue`] and the log alone.

use std::time::Duration;

use domain::id::WorkerId;
use sqlx::PgPool;

use crate::lease::queue::{QueueError, within};

/// Renews a worker's heartbeat for `time` from now. `false`: the worker is not registered.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn beat(pool: &PgPool, worker: WorkerId, time: Duration) -> Result<bool, QueueError> {
    let query = sqlx::query(
        "update jobs_worker_beat set beat_at = now(), expires_at = now() + make_interval(secs => $2) \
         where worker_id = $1",
    );
    let query = query.bind(worker.0).bind(time.as_secs_f64());
    Ok(within(query.execute(pool)).await?.rows_affected() == 1)
}

/// The first beat of a worker, or the first after it was given up.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn begin(pool: &PgPool, worker: WorkerId, time: Duration) -> Result<(), QueueError> {
    let query = sqlx::query(
        "insert into jobs_worker_beat (worker_id, beat_at, expires_at) \
         values ($1, now(), now() + make_interval(secs => $2)) \
         on conflict (worker_id) do update set beat_at = excluded.beat_at, expires_at = excluded.expires_at",
    );
    within(query.bind(worker.0).bind(time.as_secs_f64()).execute(pool)).await?;
    Ok(())
}

/// Removes a worker that stopped.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn end(pool: &PgPool, worker: WorkerId) -> Result<(), QueueError> {
    let query = sqlx::query("delete from jobs_worker_beat where worker_id = $1");
    within(query.bind(worker.0).execute(pool)).await?;
    Ok(())
}
