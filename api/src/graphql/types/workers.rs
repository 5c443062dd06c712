//! Workers as clients see them.

use async_graphql::{Context, Enum, ID, Object, Result};
use domain::id::JobId;
use projections::jobs::worker::WorkerState as State;

use super::{Job, JobKind, Worker, references};
use crate::graphql::{
    as_of::ResolvedAsOf,
    scalars::{DateTime, Long},
};

/// State of a worker. New values may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum WorkerState {
    /// It has no job.
    Idle,
    /// It is running a job.
    Working,
    /// It takes no more jobs and stops when it has none.
    Draining,
    /// Its heartbeat has expired.
    Lost,
}

impl From<State> for WorkerState {
    fn from(state: State) -> Self {
        match state {
            State::Idle => Self::Idle,
            State::Working => Self::Working,
            State::Draining => Self::Draining,
            State::Lost => Self::Lost,
        }
    }
}

impl Worker {
    /// Its job, as far as the caller may see it.
    fn visible_job(&self) -> Option<JobId> {
        let seen = self.0.job_owner.is_some_and(|owner| self.1.sees_things_of(owner));
        self.0.job.filter(|_| seen)
    }
}

/// A registered worker.
#[Object]
impl Worker {
    /// Global ID; a worker gets a new one at each start.
    pub async fn id(&self) -> ID {
        self.0.worker.id.to_string().into()
    }
    /// Its name: host and device.
    async fn name(&self) -> &str {
        &self.0.worker.name
    }
    /// Host name.
    async fn host(&self) -> &str {
        &self.0.worker.host
    }
    /// Device: `cpu` or `cuda`; never null. Nullable like `Session.device`, so that one selection may name both.
    async fn device(&self) -> Option<&str> {
        Some(&self.0.worker.device)
    }
    /// Memory in bytes.
    async fn memory_bytes(&self) -> Option<Long> {
        self.0.worker.memory_bytes.map(Long::from)
    }
    /// The version of Anneal.
    async fn code_version(&self) -> &str {
        &self.0.worker.code_version
    }
    /// Number of events recorded about it: what updates take as `expectedVersion`.
    async fn version(&self) -> i32 {
        self.0.worker.version
    }
    /// Engine version; jobs that require a newer engine wait for another worker.
    async fn engine(&self) -> i32 {
        self.0.worker.engine
    }
    /// Its labels.
    async fn labels(&self) -> Vec<&str> {
        self.0.worker.labels.iter().map(String::as_str).collect()
    }
    /// Kinds of jobs that it takes.
    async fn kinds(&self) -> Vec<JobKind> {
        self.0.worker.kinds.iter().copied().map(JobKind::from).collect()
    }
    /// State.
    async fn state(&self) -> WorkerState {
        self.0.state().into()
    }
    /// Reason given for draining.
    async fn drain_reason(&self) -> Option<&str> {
        self.0.worker.drain_reason.as_deref()
    }
    /// ID of its current job; null if it has none, or if the caller may not see it.
    async fn job_id(&self) -> Option<ID> {
        self.visible_job().map(|job| job.to_string().into())
    }
    /// Its current job; null if it has none, or if the caller may not see it.
    async fn job(&self, context: &Context<'_>) -> Result<Option<Job>> {
        let Some(job) = self.visible_job() else {
            return Ok(None);
        };
        references::job(context, ResolvedAsOf::NOW, job).await
    }
    /// Attempt number of that job.
    async fn job_attempt(&self) -> Option<i32> {
        self.0.attempt
    }
    /// Time of the last heartbeat, by the database's clock.
    async fn last_heartbeat(&self) -> Option<DateTime> {
        self.0.beat_at.map(DateTime)
    }
    /// When it registered.
    async fn registered_at(&self) -> DateTime {
        self.0.worker.registered_at.into()
    }
}
