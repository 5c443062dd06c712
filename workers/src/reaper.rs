//! Takes jobs from workers whose lease has expired (JB-4), deregisters workers whose heartbeat has stopped, and
//! counts both for metrics (WK-2).
//!
//! One rule: it acts on what the log says at that moment. Any number of reapers may run; what one was too
//! late for is refused as stale.

use std::{collections::HashMap, time::Duration};

use domain::{
    authz::Principal,
    event_store::Metadata,
    execute::{ExecuteError, Ports, execute},
    id::{JobId, WorkerId},
    jobs::{
        lease::InterruptJob,
        worker::{EndWorker, WorkerEnd},
    },
};
use projections::jobs::{
    job::{self, JobRow},
    worker::{self, ActiveWorker, WorkerState},
};
use sqlx::PgPool;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    lease::{
        expiry::{self, Verdict},
        queue,
    },
    registration::heartbeat,
};

/// Looks per lease time.
const LOOKS: u32 = 3;
/// The least and the most time between two looks.
const PACE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long a worker without a job may miss its heartbeat before it is deregistered.
const GIVE_UP: Duration = Duration::from_secs(600);

/// Looks for lost workers until `stop` is cancelled. `lease`: how long a worker may be silent.
pub fn start(ports: Ports, pool: PgPool, lease: Duration, stop: CancellationToken) -> JoinHandle<()> {
    let mut reaper = Reaper {
        ports,
        pool,
        lease,
        unleased: HashMap::new(),
    };
    tokio::spawn(async move {
        loop {
            if let Err(error) = reaper.look().await {
                tracing::warn!(%error, "the check for lost workers failed, trying again");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep((lease / LOOKS).clamp(PACE.0, PACE.1)) => {}
            }
        }
    })
}

#[derive(Debug, thiserror::Error)]
enum ReapError {
    #[error(transparent)]
    Read(#[from] projections::read_model::ReadError),
    #[error(transparent)]
    Queue(#[from] queue::QueueError),
    #[error("job {0} could not be taken from its worker: {1}")]
    Execute(JobId, String),
    #[error("worker {0} could not be given up: {1}")]
    GiveUp(WorkerId, String),
}

struct Reaper {
    ports: Ports,
    pool: PgPool,
    lease: Duration,
    /// Attempts that were seen without any lease, and since when: their worker is about to write one, or
    /// died before it could.
    unleased: HashMap<(JobId, u32), Instant>,
}

impl Reaper {
    async fn look(&mut self) -> Result<(), ReapError> {
        let under_way = projections::jobs::job::under_way(&self.pool).await?;
        let jobs: Vec<JobId> = under_way.iter().map(|row| row.id).collect();
        let leases = queue::lease_statuses(&self.pool, &jobs).await?;
        let seen = std::mem::take(&mut self.unleased);
        for row in &under_way {
            let attempt = u32::try_from(row.attempt).unwrap_or_default();
            let key = (row.id, attempt);
            let unleased = seen.get(&key).copied();
            let silence = unleased.map_or(Duration::ZERO, |since| since.elapsed());
            match expiry::verdict(attempt, leases.get(&row.id), silence, self.lease) {
                Verdict::Leave => {}
                Verdict::Watch => {
                    self.unleased.insert(key, unleased.unwrap_or_else(Instant::now));
                }
                Verdict::Lost(cause) => self.interrupt(row, attempt, &cause).await?,
            }
        }
        queue::forget_expired(&self.pool).await?;
        self.roll_call().await
    }

    /// Counts jobs and workers, and gives up workers that are lost for good.
    async fn roll_call(&self) -> Result<(), ReapError> {
        for (state, count) in job::open(&self.pool).await? {
            metrics::gauge!("jobs", "state" => state).set(count as f64);
        }
        let workers = worker::there(&self.pool).await?;
        for state in WorkerState::ALL {
            let count = workers.iter().filter(|worker| worker.state() == state).count();
            metrics::gauge!("workers", "state" => state.name()).set(count as f64);
        }
        let lost = |worker: &&ActiveWorker| {
            let silence = Duration::try_from_secs_f64(worker.silent_seconds).unwrap_or_default();
            worker.state() == WorkerState::Lost && worker.job.is_none() && silence > GIVE_UP
        };
        for worker in workers.iter().filter(lost) {
            self.give_up(worker).await?;
        }
        Ok(())
    }

    async fn give_up(&self, lost: &ActiveWorker) -> Result<(), ReapError> {
        let (reaper, worker) = (Principal::System("reaper"), lost.worker.id);
        let meta = Metadata {
            actor: reaper.actor(),
            ..Metadata::default()
        };
        let how = WorkerEnd::Lost;
        let given_up = execute(&self.ports, &reaper, &meta, &EndWorker { worker, how }).await;
        given_up.map_err(|error| ReapError::GiveUp(worker, error.to_string()))?;
        Ok(heartbeat::end(&self.pool, worker).await?)
    }

    async fn interrupt(&self, row: &JobRow, attempt: u32, cause: &str) -> Result<(), ReapError> {
        let reaper = Principal::System("reaper");
        let meta = Metadata {
            actor: reaper.actor(),
            correlation_id: Some(row.id.0),
            ..Metadata::default()
        };
        let command = InterruptJob {
            job: row.id,
            attempt,
            cause: cause.to_owned(),
            counts: true,
        };
        fail::fail_point!("reaper.before_record");
        match execute(&self.ports, &reaper, &meta, &command).await {
            Ok(_) => {
                fail::fail_point!("reaper.recorded");
                tracing::warn!(job = %row.id, attempt, cause, "a job was taken from its worker");
                metrics::counter!("worker_jobs_reaped_total").increment(1);
            }
            // Somebody was faster, or the read model is behind.
            Err(ExecuteError::Refused(_)) => {}
            Err(error) => return Err(ReapError::Execute(row.id, error.to_string())),
        }
        Ok(queue::release(&self.pool, row.id, attempt).await?)
    }
}
