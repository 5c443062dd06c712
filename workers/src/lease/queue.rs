//! Leases: which worker is alive with which attempt of a job. The table `jobs_lease`.
//!
//! One rule: the database's clock alone decides what has expired, so that the clocks of machines do not
//! matter. Nothing here decides who may write; that is the attempt's number in the log.

use std::{collections::HashMap, time::Duration};

use domain::id::{JobId, WorkerId};
use sqlx::{PgPool, Row as _};
use uuid::Uuid;

/// How long a statement may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why a lease could not be read or written. Safe to try again.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The database failed.
    #[error("leases cannot be read or written: {0}")]
    Database(#[from] sqlx::Error),
    /// It did not answer.
    #[error("the database did not answer about leases within {} seconds", DEADLINE.as_secs())]
    TimedOut,
}

/// A worker's hold on one attempt of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: u32,
    /// The worker.
    pub worker: WorkerId,
    /// Its name: host and device.
    pub worker_name: String,
}

/// Status of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseStatus {
    /// The attempt.
    pub attempt: u32,
    /// The worker's name.
    pub worker_name: String,
    /// Whether its time has not run out.
    pub alive: bool,
}

/// Writes down a lease for `time` from now. An older attempt's lease gives way; claiming again renews.
/// `false`: a newer attempt or another worker has it.
///
/// # Errors
/// When the database does not answer.
pub async fn claim(pool: &PgPool, lease: &Lease, time: Duration) -> Result<bool, QueueError> {
    let query = sqlx::query(
        "insert into jobs_lease as l (job_id, attempt, worker_id, worker_name, expires_at, beat_at) \
         values ($1, $2, $3, $4, now() + make_interval(secs => $5), now()) \
         on conflict (job_id) do update set attempt = excluded.attempt, worker_id = excluded.worker_id, \
         worker_name = excluded.worker_name, expires_at = excluded.expires_at, beat_at = excluded.beat_at \
         where l.attempt < excluded.attempt \
         or (l.attempt = excluded.attempt and l.worker_id = excluded.worker_id)",
    );
    let query = query
        .bind(lease.job.0)
        .bind(whole(lease.attempt))
        .bind(lease.worker.0)
        .bind(&lease.worker_name)
        .bind(time.as_secs_f64());
    Ok(within(query.execute(pool)).await?.rows_affected() == 1)
}

/// Renews a lease for `time` from now. `false`: it is no longer there, the attempt was taken away.
///
/// # Errors
/// When the database does not answer.
pub async fn beat(pool: &PgPool, lease: &Lease, time: Duration) -> Result<bool, QueueError> {
    let query = sqlx::query(
        "update jobs_lease set expires_at = now() + make_interval(secs => $4), beat_at = now() \
         where job_id = $1 and attempt = $2 and worker_id = $3",
    );
    let query = query
        .bind(lease.job.0)
        .bind(whole(lease.attempt))
        .bind(lease.worker.0)
        .bind(time.as_secs_f64());
    Ok(within(query.execute(pool)).await?.rows_affected() == 1)
}

/// Ends the lease of an attempt, whoever has it. One that is not there has ended already.
///
/// # Errors
/// When the database does not answer.
pub async fn release(pool: &PgPool, job: JobId, attempt: u32) -> Result<(), QueueError> {
    let query = sqlx::query("delete from jobs_lease where job_id = $1 and attempt = $2");
    within(query.bind(job.0).bind(whole(attempt)).execute(pool)).await?;
    Ok(())
}

/// The leases of these jobs, those included that have expired.
///
/// # Errors
/// When the database does not answer.
pub async fn lease_statuses(
    pool: &PgPool,
    jobs: &[JobId],
) -> Result<HashMap<JobId, LeaseStatus>, QueueError> {
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.0).collect();
    let query = sqlx::query(
        "select job_id, attempt, worker_name, expires_at > now() from jobs_lease where job_id = any($1)",
    );
    let rows = within(query.bind(&ids).fetch_all(pool)).await?;
    let read = |row: &sqlx::postgres::PgRow| -> Result<(JobId, LeaseStatus), sqlx::Error> {
        let status = LeaseStatus {
            attempt: u32::try_from(row.try_get::<i32, _>(1)?).unwrap_or_default(),
            worker_name: row.try_get(2)?,
            alive: row.try_get(3)?,
        };
        Ok((JobId(row.try_get(0)?), status))
    };
    Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
}

/// Removes leases that ran out more than an hour ago, and says how many: of jobs that ended meanwhile.
///
/// # Errors
/// When the database does not answer.
pub async fn forget_expired(pool: &PgPool) -> Result<u64, QueueError> {
    let query = sqlx::query("delete from jobs_lease where expires_at < now() - interval '1 hour'");
    Ok(within(query.execute(pool)).await?.rows_affected())
}

pub(crate) async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, QueueError> {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(QueueError::TimedOut),
    }
}

fn whole(attempt: u32) -> i32 {
    i32::try_from(attempt).unwrap_or(i32::MAX)
}
