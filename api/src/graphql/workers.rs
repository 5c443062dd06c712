//! Workers: who is there, what they can do, what they do, and telling them to go (WK-2).

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use domain::{
    authz::Action,
    id::WorkerId,
    jobs::worker::{DrainWorker, WorkerRefusal},
};
use projections::{
    jobs::worker::{self, ActiveWorker, WorkerState as State},
    read_model::Viewer,
};
use time::OffsetDateTime;

use super::{
    context::{Outcome, app, require, run, user, viewer, wait_for_position},
    errors::read_failed,
    scalars::Long,
    user_error::{UserError, UserErrorCode},
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

/// A worker that is there, as the caller may see it.
pub struct Worker(ActiveWorker, Viewer);

/// A registered worker.
#[Object]
impl Worker {
    /// Global ID; a worker gets a new one at each start.
    async fn id(&self) -> ID {
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
    /// Device: `cpu` or `cuda`.
    async fn device(&self) -> &str {
        &self.0.worker.device
    }
    /// Memory in bytes.
    async fn memory_bytes(&self) -> Option<Long> {
        self.0.worker.memory_bytes.map(Long::from)
    }
    /// The version of Anneal.
    async fn version(&self) -> &str {
        &self.0.worker.code_version
    }
    /// Engine version; jobs that require a newer engine wait for another worker.
    async fn engine(&self) -> i32 {
        self.0.worker.engine
    }
    /// Its labels.
    async fn labels(&self) -> Vec<&str> {
        self.0.worker.labels.iter().map(String::as_str).collect()
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
        let seen = self.0.job_owner.is_some_and(|owner| self.1.sees_things_of(owner));
        self.0.job.filter(|_| seen).map(|job| job.to_string().into())
    }
    /// Attempt number of that job.
    async fn attempt(&self) -> Option<i32> {
        self.0.attempt
    }
    /// Time of the last heartbeat, by the database's clock.
    async fn last_heartbeat(&self) -> Option<OffsetDateTime> {
        self.0.beat_at
    }
    /// When it registered.
    async fn registered_at(&self) -> OffsetDateTime {
        self.0.worker.registered_at
    }
}

/// Queries about workers.
#[derive(Default)]
pub struct WorkersQuery;

#[Object]
impl WorkersQuery {
    /// Registered workers, including lost ones, by name. Requires `training.read`.
    #[graphql(complexity = "10 + 10 * child_complexity")]
    async fn workers(&self, context: &Context<'_>) -> Result<Vec<Worker>> {
        user(context)?;
        require(context, Action::TrainingRead, "workers")?;
        let (viewer, found) = (viewer(context)?, worker::there(&app(context)?.pool).await);
        let found = found.map_err(|error| read_failed(&error))?;
        Ok(found.into_iter().map(|one| Worker(one, viewer.clone())).collect())
    }
}

/// Drains a worker.
#[derive(InputObject)]
pub struct DrainWorkerInput {
    /// The worker.
    pub worker_id: ID,
    /// Whether the worker saves and releases its current job instead of finishing it.
    #[graphql(default)]
    pub at_once: bool,
    /// Reason, at most 500 characters; recorded in the log.
    #[graphql(default)]
    pub reason: String,
}

/// Payload of `drainWorker`.
#[derive(SimpleObject)]
pub struct WorkerPayload {
    /// Log position of the recorded event; pass it as `minPosition` to read your own write.
    pub position: Option<Long>,
    /// Every error in the input; empty on success.
    pub user_errors: Vec<UserError>,
}

impl WorkerPayload {
    fn wrong(path: &str, message: impl Into<String>, code: UserErrorCode) -> Self {
        Self {
            position: None,
            user_errors: vec![UserError::at(path, message, code)],
        }
    }
}

/// Changes of workers.
#[derive(Default)]
pub struct WorkersMutation;

#[Object]
impl WorkersMutation {
    /// Drains a worker: it takes no more jobs and stops when it has none. It returns when its process is restarted.
    /// Requires `system.admin`.
    async fn drain_worker(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The worker, the mode, and the reason.")] input: DrainWorkerInput,
    ) -> Result<WorkerPayload> {
        user(context)?;
        let gone = |message: &str| WorkerPayload::wrong("workerId", message, UserErrorCode::NotFound);
        let Ok(worker) = input.worker_id.parse::<WorkerId>() else {
            require(context, Action::SystemAdmin, "workers")?;
            return Ok(gone("there is no such worker"));
        };
        let command = DrainWorker {
            worker,
            at_once: input.at_once,
            reason: input.reason,
        };
        Ok(match run(context, &command).await? {
            Outcome::Done(position) => {
                wait_for_position(context, position).await?;
                WorkerPayload {
                    position: Some(position.into()),
                    user_errors: Vec::new(),
                }
            }
            Outcome::Refused(refusal @ WorkerRefusal::Reason(_)) => {
                WorkerPayload::wrong("reason", refusal.to_string(), UserErrorCode::Invalid)
            }
            Outcome::Refused(refusal) => gone(&refusal.to_string()),
            Outcome::NotFound => gone("there is no such worker"),
        })
    }
}
