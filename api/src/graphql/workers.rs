//! Workers: who is there, what they can do, what they do, and telling them to go (WK-2).

use async_graphql::{Context, Enum, ID, InputObject, Object, Result};
use domain::{
    authz::Action,
    expectation::Expectation,
    id::WorkerId,
    jobs::worker::{DrainWorker, Worker as Registered, WorkerRefusal},
};
use projections::{
    jobs::worker::{self, ActiveWorker, WorkerState as State},
    paging::Viewer,
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    context::{app, readable, require, user, viewer},
    errors::read_failed,
    mutation::{Entity, MutationCall, payload},
    scalars::Long,
    user_error::{UserError, UserErrorCode, UserErrors},
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
    async fn code_version(&self) -> &str {
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
        let seen = match self.1 {
            Viewer::Everything => true,
            Viewer::User(user) => self.0.job_owner == Some(user),
        };
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
    /// Number of events recorded about it: what updates take as `expectedVersion`.
    async fn version(&self) -> i32 {
        self.0.worker.version
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
        Ok(found.into_iter().map(|one| Worker(one, viewer)).collect())
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
    /// Your id of this request, a random UUID: repeating it with the same input changes nothing and gives the first result.
    pub client_request_id: Option<Uuid>,
    /// The version that you expect; if it has another by now, nothing changes and the error is `CONFLICT`.
    pub expected_version: Option<u32>,
}

payload! {
    /// Payload of `drainWorker`.
    WorkerPayload {
        /// The worker; null on error, or if it has gone.
        worker: Worker
    }
}

impl Entity for Worker {
    type Id = WorkerId;

    fn expectation(id: WorkerId, version: u64) -> Expectation {
        Expectation::version(version).of::<Registered>(id)
    }

    async fn load(context: &Context<'_>, id: WorkerId) -> Result<Option<Self>> {
        if require(context, Action::TrainingRead, "workers").is_err() {
            return Ok(None);
        }
        let Some(viewer) = readable(context) else {
            return Ok(None);
        };
        let found = worker::there(&app(context)?.pool).await;
        let mut found = found.map_err(|error| read_failed(&error))?.into_iter();
        Ok(found.find(|one| one.worker.id == id).map(|one| Self(one, viewer)))
    }
}

impl UserErrors for WorkerRefusal {
    fn user_errors(self) -> Vec<UserError> {
        let (path, code) = match self {
            Self::Reason(_) => ("reason", UserErrorCode::Invalid),
            _ => ("workerId", UserErrorCode::NotFound),
        };
        vec![UserError::at(path, self.to_string(), code)]
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
    ) -> Result<Option<WorkerPayload>> {
        let mut call = MutationCall::signed_in(context, &input)?;
        let worker = call.id("workerId", &input.worker_id);
        let command = DrainWorker {
            worker,
            at_once: input.at_once,
            reason: input.reason,
        };
        call.finish(worker, &command).await
    }
}
