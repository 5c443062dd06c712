//! The heartbeat of an attempt's lease.
//!
//! One rule: a worker that cannot renew its lease for a whole lease time counts as lost, and stops.

use std::time::Duration;

use sqlx::PgPool;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::queue::{self, Lease, QueueError};

/// Beats per lease time.
const BEATS: u32 = 3;
/// Tries per lease time while the database does not answer.
const TRIES: u32 = 15;

/// Keeps a lease alive until it is stopped or dropped.
pub(crate) struct LeaseHeartbeat {
    pool: PgPool,
    lease: Lease,
    lost: CancellationToken,
    task: JoinHandle<()>,
}

impl LeaseHeartbeat {
    /// Claims `lease` and renews it from now on.
    pub(crate) fn start(pool: PgPool, lease: Lease, time: Duration) -> Self {
        let lost = CancellationToken::new();
        let beating = beat(pool.clone(), lease.clone(), time, lost.clone());
        Self {
            pool,
            lease,
            lost,
            task: tokio::spawn(beating),
        }
    }

    /// Waits until the lease is lost.
    pub(crate) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Gives the lease back. When that fails it runs out by itself.
    pub(crate) async fn stop(&self) {
        self.task.abort();
        fail::fail_point!("lease.before_release");
        if let Err(error) = queue::release(&self.pool, self.lease.job, self.lease.attempt).await {
            tracing::warn!(job = %self.lease.job, %error, "a lease could not be released and will expire");
        }
    }
}

impl Drop for LeaseHeartbeat {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn beat(pool: PgPool, lease: Lease, time: Duration, lost: CancellationToken) {
    let mut claimed = false;
    let mut proven = Instant::now();
    loop {
        let answer = tokio::time::timeout(time / BEATS, once(&pool, &lease, time, claimed)).await;
        let pause = match answer.unwrap_or(Err(QueueError::TimedOut)) {
            Ok(true) => {
                claimed = true;
                proven = Instant::now();
                time / BEATS
            }
            Ok(false) => {
                tracing::warn!(job = %lease.job, attempt = lease.attempt, "the lease was taken over");
                return lost.cancel();
            }
            Err(error) if proven.elapsed() >= time => {
                tracing::warn!(job = %lease.job, attempt = lease.attempt, %error, "the lease expired");
                return lost.cancel();
            }
            Err(error) => {
                tracing::warn!(job = %lease.job, %error, "a heartbeat failed, trying again");
                time / TRIES
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn once(pool: &PgPool, lease: &Lease, time: Duration, claimed: bool) -> Result<bool, QueueError> {
    if claimed {
        fail::fail_point!("lease.before_beat", |_| Err(QueueError::TimedOut));
        return queue::beat(pool, lease, time).await;
    }
    fail::fail_point!("lease.before_claim", |_| Err(QueueError::TimedOut));
    let won = queue::claim(pool, lease, time).await;
    fail::fail_point!("lease.claimed");
    won
}
