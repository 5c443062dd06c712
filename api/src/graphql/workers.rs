//! Workers: who is there, what they can do, what they do, and telling them to go (WK-2).

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use domain::{
    authz::Action,
    id::WorkerId,
    jobs::worker::{DrainWorker, WorkerRefusal},
};
use projections::{
    jobs::worker::{self, Present, WorkerState as State},
    paging::Viewer,
};
use time::OffsetDateTime;

use super::{
    context::{Outcome, app, reach, require, run, unreadable, user, viewer},
    scalars::Long,
    user_error::{UserError, UserErrorCode},
};

/// What a worker does. May grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum WorkerState {
    /// It waits for a job.
    Idle,
    /// It has one.
    Working,
    /// It takes no more, and goes once it has none.
    Draining,
    /// Its heart-beat stopped.
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
pub struct Worker(Present, Viewer);

/// A worker that has not gone.
#[Object]
impl Worker {
    /// Global id; fresh with each start.
    async fn id(&self) -> ID {
        self.0.worker.id.to_string().into()
    }
    /// Its name: host and device.
    async fn name(&self) -> &str {
        &self.0.worker.name
    }
    /// The machine.
    async fn host(&self) -> &str {
        &self.0.worker.host
    }
    /// What it computes on: `cpu` or `cuda`.
    async fn device(&self) -> &str {
        &self.0.worker.device
    }
    /// Bytes of memory that it offers.
    async fn memory_bytes(&self) -> Option<Long> {
        self.0.worker.memory_bytes.map(Long::from)
    }
    /// The version of Anneal.
    async fn version(&self) -> &str {
        &self.0.worker.code_version
    }
    /// The newest specification that it can run; jobs that need a newer one wait for another worker.
    async fn engine(&self) -> i32 {
        self.0.worker.engine
    }
    /// Its labels.
    async fn labels(&self) -> Vec<&str> {
        self.0.worker.labels.iter().map(String::as_str).collect()
    }
    /// What it does.
    async fn state(&self) -> WorkerState {
        self.0.state().into()
    }
    /// Why it drains, in the words of who asked.
    async fn drain_reason(&self) -> Option<&str> {
        self.0.worker.drain_reason.as_deref()
    }
    /// The job that it has, by id; null when it has none, or the caller may not see that job.
    async fn job_id(&self) -> Option<ID> {
        let seen = match self.1 {
            Viewer::Everything => true,
            Viewer::User(user) => self.0.job_owner == Some(user),
        };
        self.0.job.filter(|_| seen).map(|job| job.to_string().into())
    }
    /// The number of the attempt at that job.
    async fn attempt(&self) -> Option<i32> {
        self.0.attempt
    }
    /// When its heart last beat, by the database's clock.
    async fn last_heartbeat(&self) -> Option<OffsetDateTime> {
        self.0.beat_at
    }
    /// When it came.
    async fn registered_at(&self) -> OffsetDateTime {
        self.0.worker.registered_at
    }
}

/// Queries about workers.
#[derive(Default)]
pub struct WorkersQuery;

#[Object]
impl WorkersQuery {
    /// The workers that have not gone, lost ones included, by name. Needs `training.read`.
    #[graphql(complexity = "10 + 10 * child_complexity")]
    async fn workers(&self, context: &Context<'_>) -> Result<Vec<Worker>> {
        user(context)?;
        require(context, Action::TrainingRead, "workers")?;
        let (viewer, found) = (viewer(context)?, worker::there(&app(context)?.pool).await);
        let found = found.map_err(|error| unreadable(&error))?;
        Ok(found.into_iter().map(|one| Worker(one, viewer)).collect())
    }
}

/// Tells a worker to go.
#[derive(InputObject)]
pub struct DrainWorkerInput {
    /// The worker.
    pub worker_id: ID,
    /// Whether it gives the job back that it has, with its state saved, instead of finishing it.
    #[graphql(default)]
    pub at_once: bool,
    /// Why, at most 500 characters; recorded.
    #[graphql(default)]
    pub reason: String,
}

/// What came of a change of a worker.
#[derive(SimpleObject)]
pub struct WorkerPayload {
    /// Position in the log.
    pub position: Option<Long>,
    /// Everything that was wrong.
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
    /// Tells a worker to take no more jobs and to go once it has none. It comes back when its process is started
    /// again. Needs `system.admin`.
    async fn drain_worker(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The worker, how, and why.")] input: DrainWorkerInput,
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
                reach(context, position).await?;
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
